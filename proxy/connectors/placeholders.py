"""What a job holds in place of a credential. Worth nothing anywhere; it only shows where the real one goes."""

from typing import Final

from proxy.model.grant import Secret

AWS_KEY: Final = "JOBGATEPLACEHOLDER00"
"""An access key id's length, and recognisable in any log."""
AWS_SECRET: Final = Secret("jobgate-placeholder")
"""Not a secret, but what signs with it is checked like one."""
