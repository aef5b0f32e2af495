package ctl

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// parallelJobs and parallelShards bound the questions under way at the same time.
	parallelJobs   = 4
	parallelShards = 4
)

// The states of a job.
const (
	stateRunning    = "running"
	stateDone       = "done"       // every unit is accepted
	stateIncomplete = "incomplete" // nothing is open, and not every unit is accepted
	stateSealed     = "sealed"
	stateCancelled  = "cancelled"
	stateExpired    = "expired"
	stateUnknown    = "unknown" // not all shards have a steward that answers
)

// jobStatus is what the stewards say of a job, all shards together.
type jobStatus struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	State     string    `json:"state"` // one of the states above
	Units     uint64    `json:"units"`
	Open      uint64    `json:"open"`
	Accepted  uint64    `json:"accepted"`
	Failed    uint64    `json:"failed"`
	Conflict  uint64    `json:"conflict"`
	Differs   uint64    `json:"differs"`
	Lent      uint64    `json:"lent"`
	Agents    int       `json:"agents"`
	CPU       float64   `json:"useful_cpu_seconds"`
	Keepers   int       `json:"stewards"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	Submitter string    `json:"submitter"` // key ID; an operator sees the jobs of all

	id      jobs.JobID
	agreed  bool    // that nothing is open: by all shards' stewards, see standing
	perhaps bool    // nothing is open: by one steward of each shard
	told    bool    // some steward knows what ended the job
	spent   float64 // CPU seconds of all reports
	lessees string  // key IDs of the agents, one after the other
}

// done returns how many units will not run any more.
func (s *jobStatus) done() uint64 { return s.Accepted + s.Failed + s.Conflict }

// over reports whether nothing of the job will run any more.
func (s *jobStatus) over() bool {
	switch s.State {
	case stateDone, stateIncomplete:
		return s.agreed
	case stateSealed, stateCancelled, stateExpired:
		return true
	}
	return false
}

// complete reports whether every unit was accepted.
func (s *jobStatus) complete() bool { return s.State == stateDone || s.State == stateSealed }

// statuses asks for the state of all jobs.
func (g *grid) statuses(ctx context.Context, list []records.Job) []jobStatus {
	all := make([]jobStatus, len(list))
	var group errgroup.Group
	group.SetLimit(parallelJobs)
	for i, job := range list {
		group.Go(func() error {
			all[i] = g.jobStatus(ctx, job)
			return nil
		})
	}
	_ = group.Wait() // there is no error
	unheard := func(s jobStatus) bool { return s.told && g.ended(s.id, s.Expires) == "" }
	if slices.ContainsFunc(all, unheard) && g.loadJobs(ctx) == nil {
		for i := range all {
			all[i].State = cmp.Or(g.ended(all[i].id, all[i].Expires), all[i].State)
		}
	}
	return all
}

// jobStatus asks the stewards of each shard. What ended the job as a whole is in the records that are here.
func (g *grid) jobStatus(ctx context.Context, job records.Job) jobStatus {
	m := job.Manifest
	s := jobStatus{
		id: job.ID, ID: job.ID.String(), Name: m.Name, State: stateUnknown,
		Units: m.Units, Created: m.Created, Expires: m.Expires, Submitter: m.Submitter.String(),
	}
	shards := make([]standing, m.Shards())
	var group errgroup.Group
	group.SetLimit(parallelShards)
	for n := range shards {
		group.Go(func() error {
			shards[n] = g.standing(ctx, jobs.ShardID{Job: job.ID, Shard: uint32(n)}) // a job's shards are a uint32
			return nil
		})
	}
	_ = group.Wait() // there is no error
	s.add(shards)
	s.State = cmp.Or(g.ended(job.ID, m.Expires), s.State)
	return s
}

// add sums up what is known of each shard.
func (s *jobStatus) add(shards []standing) {
	agents := map[string]bool{}
	answered := 0
	s.agreed, s.perhaps = true, true
	for _, shard := range shards {
		s.agreed = s.agreed && shard.agreed
		s.perhaps = s.perhaps && shard.perhaps
		r := shard.reply
		if r == nil {
			continue
		}
		answered++
		s.told = s.told || r.GetSealed() > 0 || r.GetDead() > 0
		s.Open += r.GetOpen()
		s.Accepted += r.GetAccepted() + r.GetSealed()
		s.Failed += r.GetFailed()
		s.Conflict += r.GetConflict()
		s.Differs += r.GetDiffers()
		s.Lent += r.GetLent()
		s.CPU += float64(r.GetUsefulCpuUs()) / 1e6
		s.spent += float64(r.GetCpuUs()) / 1e6
		s.Keepers = int(r.GetStewards())
		if r.GetOpen() == 0 {
			continue // who holds leases has not been told yet
		}
		for _, id := range r.GetLessees() {
			agents[string(id)] = true
		}
	}
	s.Agents, s.lessees = len(agents), strings.Join(slices.Collect(maps.Keys(agents)), "")
	switch {
	case answered < len(shards):
	case s.Open > 0:
		s.State = stateRunning
	case s.Accepted == s.Units:
		s.State = stateDone
	default:
		s.State = stateIncomplete
	}
}

// ended returns what ended a job as a whole: stateExpired, stateCancelled, stateSealed, or "".
func (g *grid) ended(id jobs.JobID, expires time.Time) (state string) {
	now := time.Now()
	if now.After(expires) {
		return stateExpired
	}
	// An error means that the job was forgotten, which comes after it expired.
	_ = g.store.WithLedger(jobs.ShardID{Job: id}, func(l *ledger.Ledger) {
		switch c := l.Counts(now); {
		case c.Dead > 0:
			state = stateCancelled
		case c.Sealed > 0:
			state = stateSealed
		}
	})
	return state
}

// standing is what the stewards of a shard say of it.
type standing struct {
	reply   *gridv1.SummaryReply // nil: none answers
	agreed  bool                 // two of them, or the only one, say that nothing is open
	perhaps bool                 // one of them says so
}

// standing asks two stewards, and the others if those do not say the same.
func (g *grid) standing(ctx context.Context, shard jobs.ShardID) standing {
	stewards := peer.Stewards(shard, g.members)
	replies := make([]*gridv1.SummaryReply, len(stewards))
	ask := func(ctx context.Context, i int) (err error) {
		replies[i], err = g.askSummary(ctx, shard, stewards[i])
		return err
	}
	// Who does not answer is no error here: its reply is missing.
	_, _ = question{enough: 2, hedge: hedgeAfter, ask: ask}.of(ctx, len(stewards))
	if differ(replies) {
		rest := slices.DeleteFunc(indexes(len(replies)), func(i int) bool { return replies[i] != nil })
		askRest := func(ctx context.Context, i int) error { return ask(ctx, rest[i]) }
		_, _ = question{enough: len(rest), hedge: hedgeAfter, ask: askRest}.of(ctx, len(rest))
	}
	return unite(replies)
}

func indexes(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func differ(replies []*gridv1.SummaryReply) bool {
	var first *gridv1.SummaryReply
	for _, r := range replies {
		switch {
		case r == nil:
		case first == nil:
			first = r
		case r.GetOpen() != first.GetOpen():
			return true
		}
	}
	return false
}

// unite makes one of what the stewards of a shard say, the first choice first; nil is one that did not answer.
// One alone may be wrong, whichever way: what counts is that of the median of three. Of two, the one who knows
// more is believed.
func unite(replies []*gridv1.SummaryReply) standing {
	var answers []*gridv1.SummaryReply
	closed := 0
	for _, r := range replies {
		if r == nil {
			continue
		}
		answers = append(answers, r)
		if r.GetOpen() == 0 {
			closed++
		}
	}
	if len(answers) == 0 {
		return standing{}
	}
	lender := answers[0]
	slices.SortStableFunc(answers, func(a, b *gridv1.SummaryReply) int { return cmp.Compare(a.GetOpen(), b.GetOpen()) })
	reply := answers[(len(answers)-1)/2]
	reply.Lent, reply.Lessees = lender.GetLent(), lender.GetLessees() // the first one lends
	return standing{reply: reply, agreed: closed >= min(2, len(replies)), perhaps: closed > 0}
}

func (g *grid) askSummary(ctx context.Context, shard jobs.ShardID, m peer.Member) (reply *gridv1.SummaryReply, err error) {
	err = g.call(ctx, m, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err = gridv1.NewStewardClient(conn).Summary(ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(shard)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// settle looks at the records of a job themselves where one steward says that nothing of it is open and no other
// says the same. Agents signed those, so that one steward suffices.
func (g *grid) settle(ctx context.Context, job records.Job, s *jobStatus) {
	if !s.perhaps || s.agreed || g.ended(job.ID, s.Expires) != "" {
		return
	}
	units, err := g.units(ctx, job)
	if err != nil {
		return // it is not known better now
	}
	tally := map[ledger.Status]uint64{}
	for _, u := range units {
		tally[u.Status]++
	}
	s.Open, s.Accepted = tally[ledger.Open], tally[ledger.Accepted]
	s.Failed, s.Conflict = tally[ledger.Failed], tally[ledger.Conflict]
	switch {
	case s.Open > 0:
		s.State = stateRunning
		return
	case s.Accepted == s.Units:
		s.State = stateDone
	default:
		s.State = stateIncomplete
	}
	s.agreed = true
}
