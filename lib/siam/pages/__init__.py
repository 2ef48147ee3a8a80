"""What the pages of the book show: tables, figures and sentences from records. Nothing here computes accuracy or imports torch."""
