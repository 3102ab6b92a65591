"""Evidence: final figures and the verdict. The only room that reads test labels."""

from regraft.evidence.figures import final_figures
from regraft.evidence.ledger import Ledger

__all__ = ["Ledger", "final_figures"]
