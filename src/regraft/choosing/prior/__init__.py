"""What is to be expected of a source before anything is run: facts about it alone, and what tables teach."""

from regraft.choosing.prior.facts import PRETRAINING, Facts
from regraft.choosing.prior.finding import facts_of
from regraft.choosing.prior.model import Prior, shipped
from regraft.choosing.prior.standing import Standing, expected

__all__ = ["PRETRAINING", "Facts", "Prior", "Standing", "expected", "facts_of", "shipped"]
