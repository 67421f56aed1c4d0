//! Recurrent networks, sequence to sequence, Transformers. Their layers and models arrive with their own work.
