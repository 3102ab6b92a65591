"""The verbs: link, plan, fit, resume, transfer, evaluate, export, prove."""
