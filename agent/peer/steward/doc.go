// Package steward lends the open units of a shard to agents that ask, and counts it for those who want to
// know.
//
// A lease is a soft hint of one steward, in memory only, never replicated: losing one costs at most a unit
// that runs twice, since what is done follows from records alone. The states of a bundle here:
//
//	        lend              left out of the lessee's next exchange,
//	open ─────────▶ lent ───▶ lessee silent for TTL, lessee gone,    ───▶ waiting ───▶ lent, or
//	                          lent for longer than its units take                      settled by records
//
// Others are woken for what waits, at most once a second. What records settled meanwhile is dropped from its
// lessee at the next exchange.
//
// A steward that is new to a shard listens for one exchange period before it lends, since another may have
// lent meanwhile; with a job that the coordinator has just handed over nobody can have. The law of what is done
// already: nothing is lent that a living peer within reach has a report of. Two things see to that:
//
//   - the steward compares the shard's records with each other steward that it has not heard from since that one
//     became a steward, and lends nothing meanwhile: of a new lender for its listening and a third of a period more
//     at most, else for that third, so that one who hangs or is gone holds up the lending for so long only;
//   - whoever else keeps reports of the shard, their authors before all, offers them to a new steward within a
//     third of a period from when it sees the change (node.Options.OfferWithin). Where all stewards are new, that
//     is what saves the work: hence a period must be longer than word of a change takes to get round.
//
// What comes late all the same costs a unit that runs twice.
//
// Whoever failed a bundle gets it again only when no other agent took it for ten seconds, or no other agent works.
//
// An agent cannot keep a shard from the others by claiming it. Of what this lender did not lend it, it gets
// leases only while the leases of another steward may live on, all its leases are at most MaxLease bundles, and
// each ends in time however often the agent speaks. What it claims beyond that it may run until another agent
// is lent it, so that an honest agent that is late or slow loses only what somebody else does instead.
//
// Notes of checkpoints, signed by who ran a unit, are such hints, too: the newest two of each open unit go with its
// lease, in memory only, bounded in number for all and for each agent that brings them. Whoever makes them keeps them on
// disk and brings them again, once a minute; a steward that is new or was restarted also asks the others what they were
// told. Only who has a unit, or had it last, may say where it can go on, or anyone for one that nobody has and that never
// failed; an attempt that failed leaves none to the next. What they name is not looked at here: whoever goes on from one
// verifies it.
//
// The lender is a deterministic core: each call enters with the time, expires what is due, then acts.
package steward
