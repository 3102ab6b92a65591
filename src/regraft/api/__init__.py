"""The verbs: rank, link, plan, fit, resume, transfer, evaluate, export, prove."""
