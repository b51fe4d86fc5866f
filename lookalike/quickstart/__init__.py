"""The first five minutes: draws its own pictures, trains, scores, exports, searches, reports."""
