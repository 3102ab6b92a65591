"""The scores that there are."""

from __future__ import annotations

from regraft.core.errors import UsageError
from regraft.core.spelling import did_you_mean
from regraft.core.task_spec import TASK_KINDS
from regraft.scores.centroid_cka import centroid_cka
from regraft.scores.cka import cka
from regraft.scores.gbc import gbc
from regraft.scores.h import h_score
from regraft.scores.knn import knn
from regraft.scores.leep import leep
from regraft.scores.logme import logme
from regraft.scores.nce import nce
from regraft.scores.ncti import ncti
from regraft.scores.nleep import n_leep
from regraft.scores.parc import parc
from regraft.scores.regularised_h import regularised_h
from regraft.scores.ridge import ridge_accuracy, ridge_log_likelihood
from regraft.scores.score import Score
from regraft.scores.sfda import sfda
from regraft.scores.transrate import transrate

_KORNBLITH = "Kornblith et al.: Similarity of neural network representations revisited. ICML 2019"
_ALLEN = (
    "Allen: The relationship between variable selection and data augmentation and a method for prediction. "
    "Technometrics 1974"
)

_ALL = (
    Score(
        "leep",
        "the likelihood of the labels given the source head's predictions",
        "Nguyen et al.: LEEP: a new measure to evaluate transferability of learned representations. "
        "ICML 2020",
        "N Z",
        leep,
        needs_head=True,
    ),
    Score(
        "nce",
        "the entropy of the labels given the source head's decisions, negated",
        "Tran, Nguyen, Hassner: Transferability and hardness of supervised classification tasks. ICCV 2019",
        "N Z",
        nce,
        needs_head=True,
    ),
    Score(
        "n-leep",
        "LEEP with clusters of the features in place of a source head",
        "Li et al.: Ranking neural checkpoints. CVPR 2021",
        "a Gaussian mixture, N R^2 C a step: the dearest",
        n_leep,
    ),
    Score(
        "h",
        "variation between classes in proportion to all variation",
        "Bao et al.: An information-theoretic approach to transferability in task transfer learning. "
        "ICIP 2019",
        "R C",
        h_score,
    ),
    Score(
        "regularised-h",
        "the same with a shrunk covariance",
        "Ibrahim, Ponomareva, Mazumder: Newer is not always better: rethinking transferability metrics, "
        "their peculiarities, stability and performance. ECML PKDD 2022",
        "N R",
        regularised_h,
    ),
    Score(
        "logme",
        "the evidence of a Bayesian linear model",
        "You et al.: LogME: practical assessment of pre-trained models for transfer learning. ICML 2021",
        "R C a step, 11 at most",
        logme,
        kinds=TASK_KINDS,
    ),
    Score(
        "transrate",
        "nats that the class saves in coding the features",
        "Huang et al.: Frustratingly easy transferability estimation. ICML 2022",
        "R N^2 / C",
        transrate,
    ),
    Score(
        "gbc",
        "overlap of the classes as normal distributions, negated",
        "Pandy et al.: Transferability estimation using Bhattacharyya class separability. CVPR 2022",
        "N R + C^2 R",
        gbc,
    ),
    Score(
        "sfda",
        "linear discriminants of examples that were made harder",
        "Shao et al.: Not all models are equal: predicting model transferability in a self-challenging "
        "Fisher space. ECCV 2022",
        "N R^2",
        sfda,
    ),
    Score(
        "ncti",
        "distance from neural collapse, in proportion to a pool of sources",
        "Wang et al.: How far pre-trained models are from neural collapse on the target dataset informs "
        "their transferability. ICCV 2023",
        "N C^2",
        over_pool=ncti,
    ),
    Score(
        "parc",
        "rank correlation of likeness in the features and in the labels, over pairs",
        "Bolya, Mittapalli, Hoffman: Scalable diverse model selection for accessible transfer learning. "
        "NeurIPS 2021",
        "N^2 (D + log N), memory N^2",
        parc,
    ),
    Score(
        "cka", "alignment of a Gaussian kernel with the labels' kernel", _KORNBLITH, "N^2 R, memory N^2", cka
    ),
    Score(
        "centroid-cka", "the same with the linear kernel, by class centroids", _KORNBLITH, "R C", centroid_cka
    ),
    Score(
        "knn",
        "leave-one-out accuracy of the nearest neighbours",
        "Cover, Hart: Nearest neighbor pattern classification. IEEE Transactions on Information Theory 1967; "
        "compared with other scores in arXiv:2503.18528",
        "N^2 D",
        knn,
        kinds=TASK_KINDS,
    ),
    Score(
        "ridge",
        "exact leave-one-out accuracy of a least-squares head, the best of 17 penalties",
        _ALLEN,
        "17 N R C",
        ridge_accuracy,
        kinds=TASK_KINDS,
    ),
    Score(
        "ridge-log-loss",
        "minus its leave-one-out log-loss",
        _ALLEN,
        "17 N R C",
        ridge_log_likelihood,
    ),
)

SCORES: dict[str, Score] = {one.name: one for one in _ALL}
"""Every score by its name."""


def find_score(name: str) -> Score:
    """The score of that name, or a :class:`UsageError` that lists what there is."""
    if name not in SCORES:
        raise UsageError(
            f"no score is called {name!r}; there are: {', '.join(SCORES)}{did_you_mean(name, SCORES)}"
        )
    return SCORES[name]
