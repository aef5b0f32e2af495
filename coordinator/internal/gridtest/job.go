package gridtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// Job is a job that the coordinator admitted.
type Job struct {
	ID       jobs.JobID
	Manifest *manifest.Manifest
	By       *User

	grid *Grid
}

func (j *Job) shard(n uint32) jobs.ShardID { return jobs.ShardID{Job: j.ID, Shard: n} }

func (j *Job) shards() iter.Seq[jobs.ShardID] {
	return func(yield func(jobs.ShardID) bool) {
		for n := range j.Manifest.Shards() {
			if !yield(j.shard(n)) {
				return
			}
		}
	}
}

// Counts returns what a machine's records say of the whole job.
func (j *Job) Counts(m *Machine) ledger.Counts {
	j.grid.T.Helper()
	var sum ledger.Counts
	for shard := range j.shards() {
		err := m.node.Store.WithLedger(shard, func(l *ledger.Ledger) {
			c := l.Counts(time.Now())
			sum.Open, sum.Accepted, sum.Failed, sum.Conflict = sum.Open+c.Open, sum.Accepted+c.Accepted, sum.Failed+c.Failed, sum.Conflict+c.Conflict
			sum.Differs, sum.Dead, sum.Sealed = sum.Differs+c.Differs, sum.Dead+c.Dead, sum.Sealed+c.Sealed
		})
		j.grid.must(err)
	}
	return sum
}

// Stewards returns the machines that are on and keep a shard, by their own view of the pool.
func (j *Job) Stewards(shard jobs.ShardID) []*Machine {
	var out []*Machine
	for _, m := range j.grid.On() {
		for _, s := range peer.Stewards(shard, m.node.Members()) {
			if s.ID == m.node.ID() {
				out = append(out, m)
			}
		}
	}
	return out
}

// Done reports whether each shard has stewards that are on, and none of them has an open unit of it.
func (j *Job) Done() bool {
	for shard := range j.shards() {
		stewards := j.Stewards(shard)
		for _, m := range stewards {
			open := true
			err := m.node.Store.WithLedger(shard, func(l *ledger.Ledger) { open = l.Counts(time.Now()).Open > 0 })
			if err != nil || open {
				return false
			}
		}
		if len(stewards) == 0 {
			return false
		}
	}
	return true
}

// Await waits until the job is done and returns how long that took.
func (j *Job) Await(within time.Duration) time.Duration {
	j.grid.T.Helper()
	return j.grid.Eventually(within, "the job is done", j.Done)
}

// Accepted returns how many units have an accepted outcome, by the steward that knows most.
func (j *Job) Accepted() uint64 {
	most := uint64(0)
	for _, m := range j.grid.On() {
		if _, err := m.node.Store.Job(j.ID); err == nil {
			most = max(most, j.Counts(m).Accepted)
		}
	}
	return most
}

// LedgersEqual reports whether the stewards of each shard that are on have the same reports, and all machines
// that are on the same manifests, rulings, cancels and seals.
func (j *Job) LedgersEqual() bool {
	same := func(machines []*Machine, scope records.Scope) bool {
		digests := map[jobs.Digest]bool{}
		for _, m := range machines {
			digests[m.node.Store.Digest(scope)] = true
		}
		return len(digests) <= 1
	}
	for shard := range j.shards() {
		if !same(j.Stewards(shard), records.Scope{Shard: shard, Reports: true}) {
			return false
		}
	}
	return same(j.grid.On(), records.Scope{})
}

// Acknowledged returns the reports that min(2, eligible) stewards have on disk now: at least those that their
// authors may know to be durable.
func (j *Job) Acknowledged() map[jobs.Digest]bool {
	out := map[jobs.Digest]bool{}
	for shard := range j.shards() {
		stewards := j.Stewards(shard)
		kept := map[jobs.Digest]int{}
		for _, m := range stewards {
			for _, id := range m.node.Store.IDs(records.Scope{Shard: shard, Reports: true}) {
				kept[id]++
			}
		}
		for id, n := range kept {
			if len(stewards) > 0 && n >= peer.Needed(stewards[0].node.Members()) {
				out[id] = true
			}
		}
	}
	return out
}

// Missing returns how many of these reports no machine has that is on.
func (j *Job) Missing(ids map[jobs.Digest]bool) int {
	missing := maps.Clone(ids)
	for shard := range j.shards() {
		for _, m := range j.grid.On() {
			for _, id := range m.node.Store.IDs(records.Scope{Shard: shard, Reports: true}) {
				delete(missing, id)
			}
		}
	}
	return len(missing)
}

// Outcomes returns what the job's submitter gets: the outcomes of the accepted units, from packs that were
// fetched and verified.
func (j *Job) Outcomes() map[uint64]record.Outcome {
	j.grid.T.Helper()
	out, err := j.Read()
	j.grid.must(err)
	return out
}

// Read is Outcomes, with the error where that cannot be had now.
func (j *Job) Read() (map[uint64]record.Outcome, error) {
	r, err := j.By.reader()
	if err != nil {
		return nil, err
	}
	out, err := r.outcomes(j)
	return out, errors.Join(err, r.close())
}

// Complete fails the test unless the job's submitter gets an outcome of every unit, each as Compute computes it.
func (j *Job) Complete() {
	j.grid.T.Helper()
	j.Expect(j.Outcomes())
}

// Expect fails the test unless these are outcomes of every unit, each as Compute computes it.
func (j *Job) Expect(got map[uint64]record.Outcome) {
	j.grid.T.Helper()
	for unit := range j.Manifest.Units {
		want := Compute(j.Manifest.Program.Digest, unit)
		if o, ok := got[unit]; !ok {
			j.grid.T.Errorf("unit %d has no outcome", unit)
		} else if o.Digest() != want.Digest() {
			j.grid.T.Errorf("unit %d gave %q, expected %q", unit, o.Stdout, want.Stdout)
		}
	}
}

// Cancel ends the job everywhere: every machine that is on has the submitter's cancel at once.
func (j *Job) Cancel() {
	j.grid.T.Helper()
	c := record.Cancel{Job: j.ID}
	o := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeCancel, c.Encode(), j.By.Identity.Key)},
		Chains: [][][]byte{j.By.Identity.Chain},
	}
	for _, m := range j.grid.On() {
		m.Give(o)
	}
}

// Give puts a record into the store of a machine that is on, as if it had come from a peer.
func (m *Machine) Give(o records.Offer) {
	m.grid.T.Helper()
	_, refused, err := m.node.Store.Add(context.Background(), []records.Offer{o}, false)
	if err != nil || len(refused) > 0 {
		m.grid.T.Fatalf("%s refuses a record: %v %v", m.IP, refused, err)
	}
}
