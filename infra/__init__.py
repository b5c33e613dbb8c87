"""Where Footfall runs: Terraform, Databricks, the laptop cloud and the `footfall` command. Nothing else imports it."""
