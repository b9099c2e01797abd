"""stub"""


def agreement_figure(sweeps):
    return None
