// Package ledger is what is known of one shard of a job, and the status of its units as a pure function of
// that.
//
// A ledger is a set of records: reports, rulings, revocations, a cancel, a seal. The set only grows, and
// everything a Ledger answers depends on the set and the time alone.
//
// # Laws
//
// Adding is a join, which is union: commutative, associative and idempotent. So two peers that hold the same
// records show the same, in whatever order and however often the records came, and no protocol is needed to
// agree. No status is ever stored as a fact: "the first to reach the quorum wins" would make two halves of a
// partition disagree for ever.
//
// # Status of a unit
//
// The first line that holds:
//
//	dead      the job is past its expiry, cancelled, or its submitter is revoked
//	sealed    the submitter has the results
//	accepted  a ruling names an outcome that some report has, or enough owners reported one outcome
//	conflict  two outcomes have enough, and the difference cannot be the platform's
//	failed    failures in at least retries + 1 attempts
//	open      none of these
//
//	           failures, retries + 1         a success
//	   open ------------------------> failed ----------+
//	    |                                              v
//	    +------------------------------------------> accepted ---> sealed
//	    |                                              ^
//	    +--------------> conflict ---------------------+ ruling
//
// With honest agents and deterministic units nothing moves against the arrows, except that a revocation takes
// away what the revoked author said, which reopens units until they are sealed.
//
// # Decisions
//
// With quorum 1 the success with the lowest (attempt, agent, report ID) is the accepted one. Another outcome
// beside it is shown as differs and is no conflict. An agent that reports two outcomes for one unit still
// counts: one that lies needs only one report, so that nothing is gained by voiding both, whereas a pool of
// one agent whose runtime was updated between two runs would never finish.
//
// With quorum 2 and more an agent with two outcomes for one unit counts for none of that unit's outcomes.
//
// Owners are counted over all runtimes and platforms: the same bytes from two platforms are agreement, and
// were they not, a pool of one Linux and one Windows machine could never finish anything. Two outcomes that
// both have enough conflict if both were reported, by agents that count, from one runtime and platform. If no
// runtime and platform gave both, the difference is the platform's (a NaN's bits, say), and the outcome that
// the lowest (runtime, platform) gave is accepted and shown as differs.
//
// A ruling counts only while some report of an author who is not revoked has the outcome it names: nothing can
// be downloaded otherwise. Of several rulings on a unit only that with the highest (sequence, ID) is looked at.
// A ruling may name the outcome of an agent that does not count for having two: that is how it is settled.
//
// The next attempt of a bundle is the lowest number that no failure of its open units has. It is neither the
// number of failed attempts nor one more than the highest: where units of a bundle fail in different
// attempts the first may have been used, so that the unit would fail for ever in that attempt, and the second
// can be driven beyond all bounds by one false report.
//
// # What it cost
//
// Account adds up CPU time by the hour in which reports were signed, and by what became of it: useful (of the accepted
// outcome), repeated (of other successes of the unit), failed, lost (of runs that ended without a result) and overhead
// (of agents themselves). It is a function of the records as the status is, so that whoever has them computes the same;
// a ruling or a revocation moves what was counted.
//
// Time counts once, though runs go on from each other's checkpoints. What of a run without a result is lost its agent
// cannot know: another went on from its newest checkpoint, or from an older one that it had heard of, or not at all. So
// runs name those from which they went on, and the ledger sees what was taken from whom. That makes up for killed agents,
// too, who report nothing: those that went on from them say up to where.
//
// # What it does not do
//
// It verifies no signature, knows no pack's holders, bounds no author's number of records, and takes no lock:
// the caller does. It does not keep the records' bytes.
package ledger
