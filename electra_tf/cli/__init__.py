"""The commands of `electra-tf`, one module each; `app` chooses among them."""
