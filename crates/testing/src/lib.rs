//! Graph strategies and tolerances shared by tests.
