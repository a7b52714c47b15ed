"""A small trained PaliGemma (`checkpoint/`), the drawn scenes it learned from, the clip it is shown on."""
