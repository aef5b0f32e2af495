// Package accounts keeps what the grid's work has cost: CPU time by hour, submitter and runtime, and by what became of
// it, and beside that what agents offered.
//
// # Where it comes from
//
// What is spent on a live job is what its stewards say of the signed reports that they have. It is replaced with each
// look, so that any two coordinators come to the same, and one that was wiped gets it back. When a job has expired its
// records go everywhere; what was known of it last is added to rows of an hour, submitter and runtime, once. Rows are
// kept for 400 days, on this coordinator alone: whoever wants them after a lost disk needs a copy of accounts.db.
//
//	stewards ──account of a shard──▶ live job ──expired──▶ rows, totals
//	                                    └──────┬──────────────┘
//	members ──cores──▶ offered time            ▼
//	                       └────────────▶ counters (never fall) ──▶ Prometheus
//
// What agents offered is this coordinator's own observation: cores by the time between two looks. What they offered
// while it was off is not known.
//
// # Counters
//
// A counter is the higher one of what is on disk and what is computed, so that no restart, ruling or revocation lets it
// fall. Prometheus is shown what is on disk, at most a minute old: not even a kill sets it back. Until the whole of what
// lives was looked at once it is shown none.
//
// A file that cannot be read is put aside, and another begun: live jobs come back, the rest is in the file that was put
// aside.
package accounts
