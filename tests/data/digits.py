"""Makes digits.npz: what a real classifier says of real data, the 1,797 handwritten digits.

Run it with scikit-learn installed: python tests/data/digits.py
Each image's logits are those of a multinomial logistic regression that has not seen the image.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

images, target = load_digits(return_X_y=True)
model = LogisticRegression(max_iter=1000)
logits = cross_val_predict(model, images / 16, target, cv=5, method="decision_function")
np.savez(
    Path(__file__).with_suffix(".npz"),
    logits=logits.astype(np.float32),
    target=target.astype(np.uint8),
)
