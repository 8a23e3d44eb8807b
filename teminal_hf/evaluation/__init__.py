"""ZSTE: scoring, evaluator, ranking, reports."""
