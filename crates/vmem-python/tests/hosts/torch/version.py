git_version = "stand-in"
