"""What is told of a voice, apart from how it looks: the page, the Markdown and the terminal say the same.

verdict      the sentence on top, and how sure it is
tables       the same as plain cells, and as Markdown
rates        conditions, differences and gates as figures
sample_rows  samples side by side, and the worst of them
training     curves, over-fitting, points to hear
data         what it learnt from, and what was left out
sound        a player's sound and picture, inside the page
"""
