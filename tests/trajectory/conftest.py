from tests.helices import trajectory_of as trajectory_of
