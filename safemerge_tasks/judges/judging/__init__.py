"""The rules of judging, and what is done with verdicts: kept, calibrated, put into results."""
