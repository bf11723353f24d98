"""What a trail tells an auditor: from commit to artifact and back, and evidence of controls. Pure."""
