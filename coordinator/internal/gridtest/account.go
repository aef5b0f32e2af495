package gridtest

import (
	"time"

	"idlegrid/coordinator/internal/accounts"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// Accounts returns the account book of the coordinator, which is on.
func (g *Grid) Accounts() *accounts.Book { return g.Coordinator.book }

// Spent returns what a coordinator's book has of the work of a submitter.
func (g *Grid) Spent(by jobs.KeyID) ledger.Spend {
	g.T.Helper()
	until := time.Now().Add(accounts.KeepRows)
	rows, err := g.Accounts().Rows(time.Unix(0, 0), until, func(id jobs.KeyID, _ string) bool { return id == by })
	g.must(err)
	var sum ledger.Spend
	for _, r := range rows {
		sum.Add(r.Spend)
	}
	return sum
}

// Truth is what the units of a job took, as those know who ran them.
type Truth struct {
	Useful time.Duration // of units that succeeded, from their beginning to their end
	Failed time.Duration // of runs that failed
	Rest   time.Duration // of all other runs, and of successful ones that were not needed
	Runs   int
	Twice  int // successful runs more than one of a unit
}

// Truth adds up what the units of a job took that somebody can know of. A run whose machine lost its power counts up to
// the checkpoint from which another went on. No unit may fail that goes on from a checkpoint.
func (j *Job) Truth() Truth {
	var t Truth
	for unit := range j.Manifest.Units {
		runs := j.Runs(unit)
		rest, done := time.Duration(0), false
		for _, r := range runs {
			t.Runs++
			switch took := r.Reached - r.From; {
			case r.Cut:
				rest += r.wentOn(runs)
			case r.Failed:
				t.Failed += took
			case r.Ended.IsZero():
				rest += took
			case done:
				rest += took
				t.Twice++
			default: // all that it took, by whomever
				t.Useful += r.Reached
				rest -= r.From
				done = true
			}
		}
		t.Rest += rest
	}
	return t
}

// wentOn returns what of a run others went on from.
func (r UnitRun) wentOn(runs []UnitRun) time.Duration {
	furthest := r.From
	for _, o := range runs {
		if o.Of == r.ID {
			furthest = max(furthest, o.From)
		}
	}
	return furthest - r.From
}
