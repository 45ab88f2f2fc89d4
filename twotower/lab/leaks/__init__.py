"""Do rows of other groups reach the gradient of what one group owns?"""
