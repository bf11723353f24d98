"""CI pipelines: files of several providers read into one model, and put in the order in which their steps run."""
