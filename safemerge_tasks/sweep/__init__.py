"""The papers' whole experiment: fine-tune, merge, evaluate, choose λ, report."""
