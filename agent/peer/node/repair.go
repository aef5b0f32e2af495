package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

const (
	// repairEvery is how often the copies of blobs are counted: with the time until gossip sees that a peer is gone, a
	// blob that has too few online copies has one more within ten minutes.
	repairEvery = 4 * time.Minute
	// repairFor is how long copies are added after one count. What is left then waits for the next, which begins when the
	// budget allows.
	repairFor = 2 * time.Minute
	// surveyEvery is how often those who have a blob are asked whether they still do.
	surveyEvery = time.Hour
	// repairTimeout bounds what is done for one copy.
	repairTimeout = 5 * time.Minute
	// RepairRate is how many bytes a second a peer moves at most to repair, over time, where nothing else is said: a
	// tenth of 100 Mbit/s.
	RepairRate = 5 << 18
	// onlineCopies is how many copies are to be online at any time.
	onlineCopies = 2
)

// errLater says that a copy waits for the budget.
var errLater = errors.New("the budget for repair is used up")

// budget spreads repair over time. What it lets through goes at full speed, and then it rests for as long as that
// should have taken.
type budget struct {
	rate int64 // bytes a second

	mu    sync.Mutex // guards everything below
	until time.Time  // used up
	moved int64      // bytes in all
}

// take reports whether so many bytes may move now.
func (b *budget) take(bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(time.Duration(float64(bytes) / float64(b.rate) * float64(time.Second)))
	return true
}

// await waits until so many bytes may move, and reports whether they may: not if that is after until.
func (b *budget) await(ctx context.Context, bytes int64, until time.Time) bool {
	for !b.take(bytes) {
		rest := b.rest()
		if time.Now().Add(rest).After(until) {
			return false
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// rest is how long nothing may move yet.
func (b *budget) rest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, time.Until(b.until))
}

// count counts bytes that have moved.
func (b *budget) count(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved += bytes
}

// Repaired returns how many bytes this peer has moved to repair since it started.
func (n *Node) Repaired() int64 {
	n.repairs.mu.Lock()
	defer n.repairs.mu.Unlock()
	return n.repairs.moved
}

// copies is what is known of who has a blob: a hint, from receipts and from what the holders say.
type copies struct {
	claim   blobs.Claim
	blob    jobs.Blob
	report  jobs.Digest // of a pack
	holders []jobs.AgentID
	asked   time.Time // when they were last
	sought  time.Time // when everybody here was last asked, none of the holders being here
}

// repairer counts the copies of the blobs of shards that this peer is the first steward of, and adds some. It tells
// nobody what it knows: the next steward learns it anew.
//
// A copy counts for 120 h on a PC that is off, so that an evening or a weekend moves nothing. While fewer than two are
// online one is added at any time of the day; up to the number that there should be, outside of the hours when PCs go off
// and on.
type repairer struct {
	node    *Node
	first   map[jobs.ShardID]bool // this peer is the first steward; as of pool
	pool    []peer.Member         // eligible, by ID
	changed time.Time             // when the pool was last seen to have changed
	lately  []peer.Member         // those who are or were it, within the time that their copies count
	shards  map[jobs.ShardID]*shardCopies
}

// shardCopies is what is known of a shard's blobs.
type shardCopies struct {
	records jobs.Digest // of the reports that were read
	blobs   map[jobs.Digest]*copies
	reports map[jobs.Digest]bool
	listed  bool // the job's program and inputs are among the blobs
}

func (n *Node) keepCopies(ctx context.Context) {
	if n.Identity().Caller().Role != peer.Agent {
		return
	}
	r := &repairer{node: n, shards: map[jobs.ShardID]*shardCopies{}}
	first := true
	every(ctx, func() time.Duration {
		next := jitter(repairEvery)
		if !first && n.Draining() == "" && !r.round(ctx) {
			next = min(next, max(n.repairs.rest(), time.Second))
		}
		first = false
		return next
	})
}

// round looks at all blobs once and adds copies where there are too few, first of what fewest have. It reports false where
// the budget left some of that for later.
func (r *repairer) round(ctx context.Context) bool {
	r.see()
	mine := map[jobs.ShardID]bool{}
	var few []*copies
	for _, job := range r.node.Store.Jobs(true) {
		for i := range job.Manifest.Shards() {
			shard := jobs.ShardID{Job: job.ID, Shard: i}
			if !r.isFirst(shard) {
				continue
			}
			mine[shard] = true
			s := r.learn(ctx, job, shard)
			r.survey(ctx, s)
			for _, c := range s.blobs {
				if r.lacks(c) {
					few = append(few, c)
				}
			}
		}
	}
	slices.SortFunc(few, func(a, b *copies) int { return cmp.Compare(r.online(a), r.online(b)) })
	until := time.Now().Add(repairFor)
	through := !slices.ContainsFunc(few, func(c *copies) bool { return !r.add(ctx, c, until) })
	for shard, s := range r.shards {
		if !mine[shard] {
			delete(r.shards, shard)
			r.node.counted.Delete(shard)
			continue
		}
		counts := peer.BlobCounts{}
		for _, c := range s.blobs {
			r.count(&counts, c)
		}
		r.node.counted.Store(shard, counts)
	}
	return through
}

// see looks who is here, in ascending order, and forgets who stewards what when that has changed.
func (r *repairer) see() {
	pool := slices.DeleteFunc(r.node.Members(), func(m peer.Member) bool { return !m.Eligible() })
	slices.SortFunc(pool, func(a, b peer.Member) int { return a.ID.Compare(b.ID) })
	if r.first == nil || !slices.EqualFunc(pool, r.pool, func(a, b peer.Member) bool { return a.ID == b.ID && a.Class == b.Class }) {
		r.first, r.changed = map[jobs.ShardID]bool{}, time.Now()
	}
	r.pool = pool
	r.lately = r.node.Store.Lately(time.Now())
	for _, m := range pool {
		if !slices.ContainsFunc(r.lately, func(seen peer.Member) bool { return seen.ID == m.ID }) {
			r.lately = append(r.lately, m)
		}
	}
}

// likely returns who should have an input that nobody has been asked for yet: who is off is among them and cannot be.
func (r *repairer) likely(d jobs.Digest) []jobs.AgentID {
	var out []jobs.AgentID
	for _, m := range peer.Holders(d, r.lately, peer.Copies) {
		out = append(out, m.ID)
	}
	return out
}

func (r *repairer) isHere(id jobs.AgentID) bool {
	_, here := slices.BinarySearchFunc(r.pool, id, func(m peer.Member, id jobs.AgentID) int { return m.ID.Compare(id) })
	return here
}

func (r *repairer) isFirst(shard jobs.ShardID) bool {
	first, known := r.first[shard]
	if !known {
		stewards := peer.Stewards(shard, r.pool)
		first = len(stewards) > 0 && r.node.isSelf(stewards[0])
		r.first[shard] = first
	}
	return first
}

// learn reads what is new: the packs of reports, and for the first shard the program and the inputs.
func (r *repairer) learn(ctx context.Context, job records.Job, shard jobs.ShardID) *shardCopies {
	n := r.node
	s, known := r.shards[shard]
	if !known {
		s = &shardCopies{blobs: map[jobs.Digest]*copies{}, reports: map[jobs.Digest]bool{}}
		r.shards[shard] = s
	}
	if shard.Shard == 0 && !s.listed {
		all, err := r.inputs(ctx, job)
		if s.listed = err == nil; err != nil {
			n.log.Debug("cannot read a job's list of inputs yet", "job", job.ID, "err", err)
		}
		for _, b := range all {
			if s.blobs[b.Digest] == nil {
				s.blobs[b.Digest] = &copies{claim: blobs.For(job.ID), blob: b, holders: r.likely(b.Digest)}
			}
		}
	}
	scope := records.Scope{Shard: shard, Reports: true}
	digest := n.Store.Digest(scope)
	if digest == s.records {
		return s
	}
	for _, id := range n.Store.IDs(scope) {
		if s.reports[id] {
			continue
		}
		report, holders, _, err := n.Store.Holders(id)
		if err != nil {
			n.log.Debug("cannot read who has a pack", "report", id, "err", err)
			continue
		}
		s.reports[id] = true
		if report.Pack.IsZero() {
			continue
		}
		c := &copies{
			claim: blobs.Claim{Job: job.ID, Kind: blobs.Pack}, blob: report.Pack, report: id, holders: appendID(holders, report.Author),
		}
		if known { // the report is new, and its receipts are: those of a shard that was another's may be of days ago
			c.asked = time.Now()
		}
		s.blobs[report.Pack.Digest] = c
	}
	s.records = digest
	return s
}

// inputs lists the job's program and inputs, those of its list too where that is here or can be fetched.
func (r *repairer) inputs(ctx context.Context, job records.Job) ([]jobs.Blob, error) {
	n := r.node
	all := job.Manifest.Blobs()
	list := job.Manifest.Inputs
	if list.IsZero() {
		return all, nil
	}
	err := n.fetchCopy(ctx, blobs.Claim{Job: job.ID, Kind: blobs.Cached}, list)
	var in io.ReadCloser
	if err == nil {
		in, _, err = n.Blobs.Open(list.Digest)
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(in)
		err = errors.Join(err, in.Close())
	}
	if err != nil {
		return all, err
	}
	inputs, err := manifest.DecodeInputs(data)
	for _, i := range inputs {
		all = append(all, i.Blob)
	}
	return all, err
}

// survey asks those who are here whether they have what they are thought to have, now and then. Where none of them is
// here everybody is asked: a copy whose receipt was lost is the only one then.
func (r *repairer) survey(ctx context.Context, s *shardCopies) {
	now := time.Now()
	ask := map[jobs.AgentID][]*copies{}
	for _, c := range s.blobs {
		if !slices.ContainsFunc(c.holders, r.isHere) {
			if c.sought.Before(r.changed) || now.Sub(c.sought) >= surveyEvery {
				for _, m := range r.pool {
					ask[m.ID] = append(ask[m.ID], c)
				}
				c.asked, c.sought = now, now
			}
			continue
		}
		if now.Sub(c.asked) < surveyEvery {
			continue
		}
		who := c.holders
		if c.claim.Kind == blobs.Input {
			for _, m := range peer.Holders(c.blob.Digest, r.pool, peer.Copies) {
				who = appendID(who, m.ID)
			}
		}
		for _, id := range who {
			ask[id] = append(ask[id], c)
		}
		c.asked = now
	}
	for _, m := range r.pool {
		for list := ask[m.ID]; len(list) > 0; list = list[min(len(list), blobs.MaxHave):] {
			r.ask(ctx, m, list[:min(len(list), blobs.MaxHave)])
		}
	}
}

// ask notes what one agent says of blobs of one job. Of one that does not answer all is as before.
func (r *repairer) ask(ctx context.Context, m peer.Member, list []*copies) {
	have := make([]bool, len(list))
	names := make([]jobs.Blob, len(list))
	for i, c := range list {
		names[i] = c.blob
		have[i] = r.node.Blobs.Holds(c.claim.Job, c.blob.Digest)
	}
	if !r.node.isSelf(m) {
		var err error
		if have, err = r.node.Client.Have(ctx, list[0].claim.Job, names, m); err != nil {
			r.node.log.Debug("cannot ask who has blobs", "peer", m.ID, "err", err)
			for _, c := range list {
				c.sought = time.Time{} // it may be the only one that has it
			}
			return
		}
	}
	for i, c := range list {
		c.holders = slices.DeleteFunc(c.holders, func(id jobs.AgentID) bool { return id == m.ID })
		if have[i] {
			c.holders = append(c.holders, m.ID)
		}
	}
}

// online is how many agents that can be reached have a blob.
func (r *repairer) online(c *copies) (n int) {
	for _, id := range c.holders {
		if r.isHere(id) {
			n++
		}
	}
	return n
}

// believed is how many agents have a blob that can be reached, or are believed to come back.
func (r *repairer) believed(c *copies) (n int) {
	now := time.Now()
	for _, id := range c.holders {
		if r.isHere(id) || r.node.Store.SeenLately(id, now) {
			n++
		}
	}
	return n
}

// lacks reports whether a copy of a blob is to be added now, and can be.
func (r *repairer) lacks(c *copies) bool {
	switch online := r.online(c); {
	case online == 0:
		return r.node.Blobs.Holds(c.claim.Job, c.blob.Digest) // else whoever has it is off: it waits
	case online < min(onlineCopies, len(r.pool)):
		return true
	}
	return r.believed(c) < min(peer.Copies, len(r.pool)) && !rushHour(time.Now())
}

// add adds a copy of a blob. It reports false where the budget allows that only after until.
func (r *repairer) add(ctx context.Context, c *copies, until time.Time) bool {
	n := r.node
	for _, m := range peer.Holders(c.blob.Digest, r.pool, len(r.pool)) {
		if slices.Contains(c.holders, m.ID) {
			continue
		}
		if !n.repairs.await(ctx, c.blob.Size, until) {
			return false
		}
		err := r.give(ctx, c, m)
		if err == nil {
			n.repairs.count(c.blob.Size)
			c.holders = append(c.holders, m.ID)
			break
		}
		n.log.Info("cannot add a copy of a blob yet", "blob", c.blob, "to", m.ID, "err", err)
		c.asked = time.Time{} // they may not have it
	}
	return true
}

// give has one more agent keep a blob.
func (r *repairer) give(ctx context.Context, c *copies, to peer.Member) error {
	n := r.node
	if n.isSelf(to) {
		return n.fetchCopy(ctx, c.claim, c.blob, c.holders...)
	}
	if !n.Blobs.Holds(c.claim.Job, c.blob.Digest) {
		through := blobs.Claim{Job: c.claim.Job, Kind: blobs.Cached}
		if err := n.fetchCopy(ctx, through, c.blob, c.holders...); err != nil {
			return err
		}
		defer func() {
			err := n.Blobs.Drop(func(d jobs.Digest, is blobs.Claim) bool { return d == c.blob.Digest && is == through })
			if err != nil {
				n.log.Warn("cannot remove a blob that was passed on", "blob", c.blob, "err", err)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	receipts, err := n.Client.Replicate(ctx, c.claim, c.blob, []peer.Member{to}, 1)
	if err == nil && c.claim.Kind == blobs.Pack {
		_, err = n.Store.AddReceipts(c.report, receipts)
	}
	return err
}

// fetchCopy brings a blob here, from those who are known to have it first.
func (n *Node) fetchCopy(ctx context.Context, claim blobs.Claim, b jobs.Blob, known ...jobs.AgentID) error {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	return n.Client.Fetch(ctx, claim, b, peer.Sources(n.ID(), b.Digest, n.Members(), known...))
}

// rushHour reports whether it is a time at which PCs go off or on: then only what is urgent moves.
func rushHour(now time.Time) bool {
	local := now.Local()
	minute := local.Hour()*60 + local.Minute()
	return minute >= 7*60+30 && minute < 9*60+30 || minute >= 17*60 && minute < 19*60+30
}

// appendID appends an ID that is not there yet, to a copy.
func appendID(list []jobs.AgentID, id jobs.AgentID) []jobs.AgentID {
	if slices.Contains(list, id) {
		return list
	}
	return append(slices.Clone(list), id)
}
