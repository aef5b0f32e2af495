package steward

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// MaxNotes bounds the notes of checkpoints that an agent may bring with one exchange. Others are passed over.
	MaxNotes = 64
	// generations is how many notes of a unit are kept.
	generations = 2
	// maxNotes bounds the notes in memory, and maxNotesBy those of them that one agent brought. One takes a few
	// thousand bytes.
	maxNotes   = 8192
	maxNotesBy = 512
	// maxLearned bounds the notes that are taken from another steward of a shard at once.
	maxLearned = 2048
	// maxGiven bounds the bytes of notes in one reply. A unit whose notes do not fit begins anew.
	maxGiven = 1 << 20
)

// note is a verified note of a checkpoint of an open unit, and who brought it.
type note struct {
	*records.Note
	shard  jobs.ShardID
	by     jobs.AgentID
	came   time.Time
	lessee bool // who brought it had the unit, or had it last, by what this steward lent, or brought it while another lent
}

// first orders notes of one unit: those of lessees go before others, whatever these say.
func (n *note) first(o *note) int {
	switch {
	case n.lessee == o.lessee:
		return n.Newer(o.Note)
	case n.lessee:
		return -1
	default:
		return 1
	}
}

// notebook is the newest checkpoints of open units, as far as agents told: a soft hint of one steward that goes along
// with leases. No agent can push out what another brought unless it has more of them itself.
type notebook struct {
	units map[jobs.ShardID]map[uint64][]*note // as note.first says
	by    map[jobs.AgentID][]*note            // in the order in which they came
	total int

	pruned map[jobs.ShardID]time.Time // when those of units that are open no more were last forgotten
}

func newNotebook() notebook {
	return notebook{units: map[jobs.ShardID]map[uint64][]*note{}, by: map[jobs.AgentID][]*note{}, pruned: map[jobs.ShardID]time.Time{}}
}

// knows reports whether a note is here.
func (b *notebook) knows(shard jobs.ShardID, n *records.Note) bool {
	return slices.ContainsFunc(b.units[shard][n.Unit], func(have *note) bool { return have.Same(n) })
}

// believes reports whether an agent brought notes of a unit as its lessee: with another steward it may be that still.
func (b *notebook) believes(shard jobs.ShardID, unit uint64, who jobs.AgentID) bool {
	return slices.ContainsFunc(b.units[shard][unit], func(have *note) bool { return have.lessee && have.by == who })
}

// confirm notes that a note which is here was brought by a lessee.
func (b *notebook) confirm(shard jobs.ShardID, n *records.Note) {
	list := b.units[shard][n.Unit]
	for _, have := range list {
		have.lessee = have.lessee || have.Same(n)
	}
	slices.SortFunc(list, (*note).first)
}

// add takes a verified note in and lets go of what is one too many.
func (b *notebook) add(n *note) {
	if b.knows(n.shard, n.Note) {
		return
	}
	if b.units[n.shard] == nil {
		b.units[n.shard] = map[uint64][]*note{}
	}
	list := slices.Concat(b.units[n.shard][n.Unit], []*note{n})
	slices.SortFunc(list, (*note).first)
	b.units[n.shard][n.Unit] = list
	b.by[n.by] = append(b.by[n.by], n)
	b.total++
	if len(list) > generations {
		b.drop(list[generations])
	}
	if len(b.by[n.by]) > maxNotesBy {
		b.drop(b.by[n.by][0])
	}
	if b.total > maxNotes {
		b.drop(b.by[b.most()][0])
	}
}

// most returns who brought the most notes.
func (b *notebook) most() (who jobs.AgentID) {
	n := -1
	for id, list := range b.by {
		if len(list) > n || len(list) == n && id.Compare(who) < 0 {
			who, n = id, len(list)
		}
	}
	return who
}

func (b *notebook) drop(n *note) {
	same := func(have *note) bool { return have == n }
	units := b.units[n.shard]
	if units[n.Unit] = slices.DeleteFunc(units[n.Unit], same); len(units[n.Unit]) == 0 {
		delete(units, n.Unit)
	}
	if len(units) == 0 {
		delete(b.units, n.shard)
		delete(b.pruned, n.shard)
	}
	if b.by[n.by] = slices.DeleteFunc(b.by[n.by], same); len(b.by[n.by]) == 0 {
		delete(b.by, n.by)
	}
	b.total--
}

// dropShard forgets the notes of a shard, all or those of units that pass.
func (b *notebook) dropShard(shard jobs.ShardID, pass func(unit uint64) bool) {
	var gone []*note
	for unit, list := range b.units[shard] {
		if pass(unit) {
			gone = append(gone, list...)
		}
	}
	for _, n := range gone {
		b.drop(n)
	}
}

// dropAll forgets the notes of shards that pass.
func (b *notebook) dropAll(pass func(jobs.ShardID) bool) {
	for shard := range b.units {
		if pass(shard) {
			b.dropShard(shard, func(uint64) bool { return true })
		}
	}
}

// of returns the notes that go with a lease, the newest first: those of the attempt that is lent. Where a unit failed
// its checkpoint may be why, so the next attempt begins anew. Where lessees brought some there are no others.
func (b *notebook) of(shard jobs.ShardID, m *manifest.Manifest, lent []Run) (out []*gridv1.Record) {
	if len(b.units[shard]) == 0 {
		return nil
	}
	attempts := map[uint64]uint32{}
	for _, r := range lent {
		for bundle := r.First; bundle-r.First < uint64(r.Count); bundle++ {
			attempts[bundle] = r.Attempt
		}
	}
	bytes := 0
	for unit, list := range b.units[shard] {
		attempt, ok := attempts[m.BundleOf(unit)]
		for _, n := range list {
			if ok && n.Attempt == attempt && n.lessee == list[0].lessee && bytes+n.Size() <= maxGiven {
				bytes += n.Size()
				out = append(out, n.ToProto())
			}
		}
	}
	return out
}

// brought is what an agent brings of checkpoints.
type brought struct {
	shard jobs.ShardID
	units []uint64        // that it names, not all of them open
	fresh []*note         // verified, that are not known yet
	known []*records.Note // the others
	lent  []Run           // to whom brings them, by the same exchange: of these it had none when it came by what it brings

	elsewhere bool // another steward goes before this one and knows the lessees: whoever brings a note counts as one
}

// vet reads the notes that an agent brings and verifies those that are not here yet. Whatever is wrong with one is no
// reason to refuse the exchange.
func (s *Steward) vet(shard jobs.ShardID, m *manifest.Manifest, who jobs.AgentID, list []*gridv1.Record) (b brought) {
	b.shard = shard
	if m.CheckpointEvery() == 0 {
		return b
	}
	for _, p := range list[:min(len(list), MaxNotes)] {
		n, err := records.ReadNote(p)
		if err == nil && (n.Job != shard.Job || n.Unit >= m.Units || m.ShardOf(m.BundleOf(n.Unit)) != shard.Shard) {
			err = jobs.Errorf(jobs.Invalid, "it is of a unit that is not in the shard")
		}
		if err == nil {
			b.units = append(b.units, n.Unit)
			s.mu.Lock()
			known := s.notes.knows(shard, n)
			s.mu.Unlock()
			if known {
				b.known = append(b.known, n)
				continue
			}
			err = s.o.Store.VerifyNote(n, time.Now())
		}
		if err != nil {
			s.log.Warn("refusing the note of a checkpoint", "shard", shard, "agent", who, "err", err)
			continue
		}
		b.fresh = append(b.fresh, &note{Note: n, shard: shard, by: who, came: time.Now()})
	}
	return b
}

// takeNotes keeps the notes of open units that their bringer may speak of, and returns the named units that are open no
// more. The lender is nil where this agent lends none of the shard now, and aside says that another does. The caller holds
// the lock.
func (s *Steward) takeNotes(l *lender, m *manifest.Manifest, led *ledger.Ledger, who jobs.AgentID, b brought, aside bool, now time.Time) (settled []uint64) {
	open := map[uint64]bool{}
	for _, unit := range b.units {
		open[unit] = led.Unit(unit, now).Status == ledger.Open
		if !open[unit] {
			settled = append(settled, unit)
		}
	}
	for _, n := range b.fresh {
		bundle := m.BundleOf(n.Unit)
		lessee := b.had(l, bundle, who)
		if open[n.Unit] && n.Attempt == led.Attempt(bundle) && (lessee || n.Attempt == 0 && l.mayBeElsewhere(bundle, aside)) {
			n.lessee = lessee || b.elsewhere || s.notes.believes(b.shard, n.Unit, who)
			s.notes.add(n)
		}
	}
	for _, n := range b.known {
		if n.Author == who && (b.elsewhere || b.had(l, m.BundleOf(n.Unit), who)) {
			s.notes.confirm(b.shard, n)
		}
	}
	return settled
}

// had reports whether who brings notes has a bundle or had it last, from before the exchange.
func (b *brought) had(l *lender, bundle uint64, who jobs.AgentID) bool {
	now := slices.ContainsFunc(b.lent, func(r Run) bool { return bundle >= r.First && bundle-r.First < uint64(r.Count) })
	return !now && l.lentTo(bundle, who)
}

// lentTo reports whether an agent has a bundle or had it last.
func (l *lender) lentTo(bundle uint64, who jobs.AgentID) bool {
	if l == nil {
		return false
	}
	if holder, lent := l.lent[bundle]; lent {
		return holder == who
	}
	return l.waiting[bundle].from == who
}

// mayBeElsewhere reports whether another steward may have lent a bundle that never failed: anyone may say then from where
// it can go on, since its lessee and its steward were off, or this steward lends none of it. It may not of what was lent
// here, nor where this steward lends since there is the job. Hence a forger spoils one attempt of what was not lent yet
// when stewards changed at most.
func (l *lender) mayBeElsewhere(bundle uint64, aside bool) bool {
	if l == nil {
		return true
	}
	_, lent := l.lent[bundle]
	return !lent && l.waiting[bundle].from == (jobs.AgentID{}) && (aside || !l.sole)
}

// prune forgets the notes of a shard's units that are open no more, now and then.
func (b *notebook) prune(shard jobs.ShardID, led *ledger.Ledger, now time.Time) {
	if len(b.units[shard]) == 0 || now.Sub(b.pruned[shard]) < wakePeriod {
		return
	}
	b.pruned[shard] = now
	b.dropShard(shard, func(unit uint64) bool { return led.Unit(unit, now).Status != ledger.Open })
}

// aside takes the notes of an agent that another steward of the shard lends to: should both be gone at once, this one
// is to go on from there. Whom this one lent to before the other came back says nothing of who has a unit now.
func (s *Steward) aside(job records.Job, at place, who jobs.AgentID, b brought, reply *gridv1.ExchangeReply) error {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.shards[at.shard]
	if b.elsewhere = at.stewards[0].ID != s.o.Self; b.elsewhere {
		l = nil
	}
	return s.o.Store.WithLedger(at.shard, func(led *ledger.Ledger) {
		s.notes.prune(at.shard, led, now)
		reply.Settled = s.takeNotes(l, job.Manifest, led, who, b, true, now)
	})
}

// Notes tells another steward of a shard what this one was told of checkpoints.
func (s *Steward) Notes(req *gridv1.NotesRequest, stream grpc.ServerStreamingServer[gridv1.NotesReply]) error {
	if _, err := rpc.Allow(stream.Context(), gridv1.Steward_Notes_FullMethodName); err != nil {
		return err
	}
	scope, err := records.ScopeFromProto(req.GetShard())
	if err != nil {
		return err
	}
	var list []*note
	s.mu.Lock()
	for _, unit := range s.notes.units[scope.Shard] {
		list = append(list, unit...)
	}
	s.mu.Unlock()
	for part := range slices.Chunk(list, MaxNotes) {
		reply := &gridv1.NotesReply{}
		for _, n := range part {
			reply.Checkpoints = append(reply.Checkpoints, n.ToProto())
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
	return nil
}

// NotesOf asks another steward of a shard what it was told of checkpoints. Nothing is verified here; the number is
// bounded. A steward of a version that keeps none to itself has none.
func NotesOf(ctx context.Context, conn grpc.ClientConnInterface, shard jobs.ShardID) ([]*gridv1.Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // where it has more than is taken
	stream, err := gridv1.NewStewardClient(conn).Notes(ctx, &gridv1.NotesRequest{Shard: records.ShardToProto(shard)})
	if err != nil {
		return nil, err
	}
	var out []*gridv1.Record
	for len(out) < maxLearned {
		reply, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) || jobs.KindOf(err) == jobs.Unsupported:
			return out, nil
		case err != nil:
			return out, err
		}
		out = append(out, reply.GetCheckpoints()[:min(len(reply.GetCheckpoints()), maxLearned-len(out))]...)
	}
	return out, nil
}
