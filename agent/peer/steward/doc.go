// Package steward lends the open units of a shard to agents that ask, and counts it for those who want to
// know.
//
// A lease is a soft hint of one steward, in memory only, never replicated: losing one costs at most a unit
// that runs twice, since what is done follows from records alone. The states of a bundle here:
//
//	        lend                      left out of the lessee's next exchange,
//	open ─────────▶ lent ─────────▶   lessee silent for TTL, lessee gone     ─────▶ open again, or
//	                                                                          settled by records
//
// A steward that is new to a shard listens for one exchange period before it lends, since another may have
// lent meanwhile; with a job that the coordinator has just handed over nobody can have. Whoever failed a
// bundle gets it again only when no other agent took it.
//
// The lender is a deterministic core: each call enters with the time, expires what is due, then acts.
package steward
