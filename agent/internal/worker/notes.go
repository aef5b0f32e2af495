package worker

import (
	"context"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// tellAgain is when a steward is told again of a checkpoint: it may have been restarted.
	tellAgain = time.Minute
	// maxTold bounds the stewards of which it is remembered what they were told.
	maxTold = 8
	// maxHints bounds the notes that are looked at in one reply, all of them for units that were lent.
	maxHints = 256
	// maxReleased bounds the units whose checkpoints are let go of at once.
	maxReleased = 64
)

// own is this agent's own checkpoints of a unit that is open as far as it knows, held or not.
type own struct {
	shard jobs.ShardID
	notes []*records.Note // newest first, at least one
	told  map[jobs.AgentID]telling
	// behind says that others came further, from where the unit went on here: no steward is to take these for its last.
	behind bool
}

// telling is the newest checkpoint that a steward was told of, and when.
type telling struct {
	what *records.Note
	at   time.Time
}

// loadNotes reads what this agent noted before it was restarted.
func (w *Worker) loadNotes() {
	notes, err := w.o.Store.Notes()
	if err != nil {
		w.log.Warn("cannot read the notes of checkpoints", "err", err)
	}
	for _, n := range notes {
		job, err := w.o.Store.Job(n.Job)
		unit := n.UnitID()
		if err != nil || n.Author != w.o.Self || n.Unit >= job.Manifest.Units {
			w.free = append(w.free, unit)
			continue
		}
		if w.own[unit] == nil {
			m := job.Manifest
			w.own[unit] = &own{shard: jobs.ShardID{Job: n.Job, Shard: m.ShardOf(m.BundleOf(n.Unit))}}
		}
		o := w.own[unit]
		o.notes = append(o.notes, n)
		slices.SortFunc(o.notes, (*records.Note).Newer)
	}
}

// noted takes a new checkpoint of this agent's own. Its steward is told soon, so that a kill costs little.
func (w *Worker) noted(sv *saver, notes []*records.Note) {
	s := w.shards[sv.shard]
	if s != nil && sv.owes > 0 {
		w.lost(s, sv, sv.owes)
		sv.owes = 0
	}
	switch {
	case len(notes) == 0:
	case s == nil || sv.over:
		w.free = append(w.free, sv.unit)
	default:
		o := w.own[sv.unit]
		if o == nil {
			o = &own{shard: sv.shard}
			w.own[sv.unit] = o
		}
		o.notes, o.behind = notes, false
		s.changed, s.asideAt = true, time.Time{}
	}
}

// untold returns what a steward has to be told of, those first of which it was told least lately.
func (w *Worker) untold(s *shard, to jobs.AgentID, now time.Time) []*own {
	var list []*own
	for _, o := range w.own {
		if t := o.told[to]; o.shard == s.id && !o.behind && (t.what != o.notes[0] || now.Sub(t.at) >= tellAgain) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *own) int { return a.told[to].at.Compare(b.told[to].at) })
	return list[:min(len(list), steward.MaxNotes/generations)]
}

// tell adds notes to an exchange and returns what notes that a steward was told.
func tell(req *gridv1.ExchangeRequest, list []*own) (told func(to jobs.AgentID, at time.Time)) {
	what := make([]*records.Note, len(list))
	for i, o := range list {
		what[i] = o.notes[0]
		for _, n := range o.notes {
			req.Checkpoints = append(req.Checkpoints, n.ToProto())
		}
	}
	return func(to jobs.AgentID, at time.Time) {
		for i, o := range list {
			if o.told == nil || len(o.told) > maxTold {
				o.told = map[jobs.AgentID]telling{}
			}
			o.told[to] = telling{what[i], at}
		}
	}
}

// aside returns a steward of a shard that is to know of checkpoints beside the lender, should that be gone together
// with this agent, or be this agent.
func (w *Worker) aside(s *shard) (peer.Member, bool) {
	for _, m := range peer.Stewards(s.id, w.o.Members()) {
		if m.ID != s.lender && m.ID != w.o.Self {
			return m, true
		}
	}
	return peer.Member{}, false
}

// tellAside tells another steward of each shard of what is new.
func (w *Worker) tellAside(ctx context.Context, now time.Time) {
	asked := map[jobs.ShardID]bool{}
	for _, o := range w.own {
		s := w.shards[o.shard]
		if s == nil || asked[s.id] || now.Before(s.asideAt) {
			continue
		}
		asked[s.id] = true
		to, ok := w.aside(s)
		if !ok {
			continue
		}
		s.asideAt = now.Add(w.o.Lease.Period) // to look again, unless there is something new
		list := w.untold(s, to.ID, now)
		if len(list) == 0 {
			continue
		}
		req := &gridv1.ExchangeRequest{Shard: records.ShardToProto(s.id), Aside: true}
		told := tell(req, list)
		w.spawn(func() event {
			reply, err := w.call(ctx, s.id, to, req)
			return func(at time.Time) {
				if err != nil || reply.GetNotSteward() {
					w.log.Info("a steward hears of checkpoints later", "shard", s.id, "steward", to.ID, "err", err)
					return
				}
				told(to.ID, at)
			}
		})
	}
}

// heard takes what a steward says of checkpoints: from where lent units can go on, and which of this agent's own are of
// units that are open no more. Those of units that are held stay, whatever it says.
func (w *Worker) heard(s *shard, reply *gridv1.ExchangeReply) {
	m := s.job.Manifest
	for _, p := range reply.GetCheckpoints()[:min(len(reply.GetCheckpoints()), maxHints)] {
		n, err := records.ReadNote(p)
		if err != nil {
			w.log.Info("a steward passes on a note that cannot be read", "shard", s.id, "steward", s.lender, "err", err)
			continue
		}
		if n.Job != s.id.Job || n.Unit >= m.Units || s.bundles[m.BundleOf(n.Unit)] == nil || len(s.hints[n.Unit]) >= generations {
			continue
		}
		if s.hints == nil {
			s.hints = map[uint64][]*records.Note{}
		}
		s.hints[n.Unit] = append(s.hints[n.Unit], n)
	}
	for _, unit := range reply.GetSettled()[:min(len(reply.GetSettled()), steward.MaxNotes)] {
		id := jobs.UnitID{Job: s.id.Job, Unit: unit}
		if w.own[id] != nil && unit < m.Units && s.bundles[m.BundleOf(unit)] == nil {
			w.free = append(w.free, id)
		}
	}
}

// letGo releases the checkpoints of units that are reported and kept, done elsewhere, or of a job that has ended.
func (w *Worker) letGo(ctx context.Context) {
	for len(w.free) > 0 {
		job := w.free[0].Job
		var units []uint64
		var holders []jobs.AgentID
		w.free = slices.DeleteFunc(w.free, func(u jobs.UnitID) bool {
			if u.Job != job || len(units) >= maxReleased {
				return false
			}
			units = append(units, u.Unit)
			if o := w.own[u]; o != nil {
				for _, n := range o.notes {
					holders = append(holders, n.Holders...)
				}
				delete(w.own, u)
			}
			return true
		})
		w.spawn(func() event {
			w.releaseAt(ctx, job, units, holders)
			return func(time.Time) {}
		})
	}
}

// releaseAt tells those who hold checkpoints of units, by receipts or because they should and so may have earlier ones.
func (w *Worker) releaseAt(ctx context.Context, job jobs.JobID, units []uint64, holders []jobs.AgentID) {
	members := w.o.Members()
	for _, unit := range units {
		for _, m := range peer.CheckpointHolders(jobs.UnitID{Job: job, Unit: unit}, members, 2*peer.CheckpointCopies) {
			holders = append(holders, m.ID)
		}
	}
	at := slices.DeleteFunc(slices.Clone(members), func(m peer.Member) bool { return !slices.Contains(holders, m.ID) })
	if err := w.o.Blobs.Release(ctx, job, units, at); err != nil {
		w.log.Info("a holder keeps checkpoints longer than it need", "job", job, "err", err)
	}
	for _, unit := range units {
		if err := w.o.Store.SaveNotes(jobs.UnitID{Job: job, Unit: unit}); err != nil {
			w.log.Info("the note of a checkpoint stays", "job", job, "unit", unit, "err", err)
		}
	}
}

// reported lets go of the checkpoints of units that are in a durable report.
func (s *state) reported(p *part) {
	if len(s.own) == 0 {
		return
	}
	for _, u := range p.units {
		if id := (jobs.UnitID{Job: p.bundle.shard.id.Job, Unit: u.Unit}); s.own[id] != nil {
			s.free = append(s.free, id)
		}
	}
}

// forget lets go of the checkpoints of a shard whose job has ended.
func (s *state) forget(sh *shard) {
	for id, o := range s.own {
		if o.shard == sh.id {
			s.free = append(s.free, id)
		}
	}
}
