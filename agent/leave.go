package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// leaveCause names why an agent that leaves takes nothing more.
	leaveCause = "leave"
	// leaveLeast and leaveMost bound how long handing over may take.
	leaveLeast = time.Second
	leaveMost  = 24 * time.Hour
	// leaveEvery spaces attempts to hand over what could not be.
	leaveEvery = time.Second
	// leaveCall bounds one comparison with a steward, and leaveBlob one blob.
	leaveCall = 30 * time.Second
	leaveBlob = 10 * time.Minute
	// maxPlacing bounds the blobs that are handed over at once.
	maxPlacing = 4
)

// Leave hands over what others need of this agent and ends it. Where that cannot be done in time, or whoever asked
// goes away, the agent goes on as before.
func (c *control) Leave(req *gridv1.LeaveRequest, stream grpc.ServerStreamingServer[gridv1.LeaveProgress]) error {
	a := c.agent
	if err := a.node.AllowSelf(stream.Context(), gridv1.Control_Leave_FullMethodName); err != nil {
		return err
	}
	select {
	case a.leaving <- struct{}{}:
		defer func() { <-a.leaving }()
	default:
		return jobs.Errorf(jobs.Exists, "the agent is leaving already")
	}
	timeout := min(max(time.Duration(req.GetTimeoutMs())*time.Millisecond, leaveLeast), leaveMost)
	ctx, cancel := context.WithTimeout(stream.Context(), timeout)
	defer cancel()
	a.log.Info("leaving the grid", "timeout", timeout, "force", req.GetForce())
	err := a.handOver(ctx, stream.Send)
	if err != nil && (!req.GetForce() || stream.Context().Err() != nil) {
		a.log.Warn("cannot leave the grid, going on as before", "err", err)
		return errors.Join(err, a.stay(context.WithoutCancel(ctx)))
	}
	if err != nil {
		a.log.Warn("leaving all the same", "err", err)
	}
	err = stream.Send(&gridv1.LeaveProgress{Done: true})
	a.depart.Do(func() { close(a.departed) })
	return err
}

// stay takes back that this agent leaves.
func (a *Agent) stay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	a.node.Drain(leaveCause, "")
	if a.worker == nil {
		return nil
	}
	return a.worker.SetLeaving(ctx, false)
}

// handOver gives units back, and reports and blobs to those who keep them when this agent is gone, until nothing
// is left. When ctx ends before, the error says what is left.
func (a *Agent) handOver(ctx context.Context, tell func(*gridv1.LeaveProgress) error) error {
	a.node.Drain(leaveCause, "leaving the grid")
	if a.worker != nil {
		if err := a.worker.SetLeaving(ctx, true); err != nil {
			return err
		}
	}
	h := &handover{
		agent: a, placed: map[placing][]record.Envelope{}, saved: map[jobs.UnitID][]jobs.Blob{}, offered: map[jobs.ShardID]jobs.Digest{},
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	left, err := &gridv1.LeaveProgress{}, error(nil)
	for {
		select {
		case <-ctx.Done():
			return notHandedOver(left, err)
		case <-timer.C:
		}
		now, why := h.round(ctx)
		if ctx.Err() == nil || err == nil {
			left, err = now, why // what a round says that was cut short is not why
		}
		if err := tell(now); err != nil {
			return err
		}
		if now.GetBundles() == 0 && now.GetReports() == 0 && now.GetBlobs() == 0 {
			return nil
		}
		timer.Reset(leaveEvery)
	}
}

// notHandedOver says what is left, and why as far as the last attempt knows.
func notHandedOver(left *gridv1.LeaveProgress, why error) error {
	text := fmt.Sprintf("not handed over in time: %d bundles, %d reports, %d blobs", left.GetBundles(), left.GetReports(), left.GetBlobs())
	err := jobs.Errorf(jobs.Unavailable, "%s", text)
	if why != nil {
		err = jobs.Errorf(jobs.Unavailable, "%s: %w", text, why)
	}
	return jobs.WithHint(err, "the agent goes on; try again with a longer --timeout, or when more agents are on; --force leaves without them")
}

// handover is how far an agent is that leaves.
type handover struct {
	agent *Agent

	mu      sync.Mutex // guards placed, saved and err
	placed  map[placing][]record.Envelope
	saved   map[jobs.UnitID][]jobs.Blob  // the parts of checkpoints that others have
	err     error                        // one of those that this round met
	offered map[jobs.ShardID]jobs.Digest // what enough stewards had of a shard
}

// placing is a blob of a job.
type placing struct {
	job    jobs.JobID
	digest jobs.Digest
}

// round hands over what can be now, and returns what is left and one reason why.
func (h *handover) round(ctx context.Context) (*gridv1.LeaveProgress, error) {
	left := &gridv1.LeaveProgress{}
	h.err = nil
	h.units(ctx, left)
	members := h.others()
	h.blobs(ctx, members, left)
	h.checkpoints(ctx, members, left)
	h.reports(ctx, members, left)
	return left, h.err
}

// others is the pool as it will be: this agent keeps nothing.
func (h *handover) others() []peer.Member {
	members := h.agent.node.Members()
	for i := range members {
		if members[i].ID == h.agent.node.ID() {
			members[i].Draining = true
		}
	}
	return members
}

func (h *handover) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
}

// units counts the bundles that are neither given back nor reported.
func (h *handover) units(ctx context.Context, left *gridv1.LeaveProgress) {
	if h.agent.worker == nil {
		return
	}
	s, err := h.agent.worker.Status(ctx)
	if err != nil {
		h.failed(err)
		left.Bundles = 1 // not known
		return
	}
	left.Bundles = uint32(s.Held)
	if s.Held == 0 && len(s.Running)+s.Unkept > 0 {
		left.Bundles = 1
	}
}

// blobs makes sure that enough others hold each blob of a job that may still be wanted.
func (h *handover) blobs(ctx context.Context, members []peer.Member, left *gridv1.LeaveProgress) {
	var work sync.WaitGroup
	slots := make(chan struct{}, maxPlacing)
	for _, kept := range h.agent.node.Blobs.List() {
		for _, claim := range h.wanted(kept) {
			slots <- struct{}{}
			work.Go(func() {
				h.place(ctx, claim, kept.Blob, members)
				<-slots
			})
		}
	}
	work.Wait()
	for _, kept := range h.agent.node.Blobs.List() {
		left.Blobs += uint32(len(h.wanted(kept)))
	}
}

// wanted returns for which live jobs others must still be given a blob, and as what. Checkpoints are handed
// over by unit.
func (h *handover) wanted(kept blobs.Kept) []blobs.Claim {
	kinds := map[jobs.JobID]blobs.Kind{}
	for _, c := range kept.Claims {
		switch c.Kind {
		case blobs.Checkpoint:
		case blobs.Pack, blobs.Own:
			kinds[c.Job] = blobs.Pack
		default:
			if _, known := kinds[c.Job]; !known {
				kinds[c.Job] = blobs.Input
			}
		}
	}
	var out []blobs.Claim
	for job, kind := range kinds {
		if h.agent.node.Store.Runnable(job) == nil && !h.isPlaced(placing{job, kept.Blob.Digest}) {
			out = append(out, blobs.Claim{Job: job, Kind: kind})
		}
	}
	return out
}

// checkpoints gives those of other agents to others: their authors may be off, and so may who has the other copy. This
// agent's own are at others already.
func (h *handover) checkpoints(ctx context.Context, members []peer.Member, left *gridv1.LeaveProgress) {
	var work sync.WaitGroup
	slots := make(chan struct{}, maxPlacing)
	for unit, parts := range h.unsaved() {
		slots <- struct{}{}
		work.Go(func() {
			h.save(ctx, unit, parts, members)
			<-slots
		})
	}
	work.Wait()
	for _, parts := range h.unsaved() {
		left.Blobs += uint32(len(parts))
	}
}

// unsaved returns the parts of checkpoints that others must still be given, for each unit those of the agent that came
// with one last.
func (h *handover) unsaved() map[jobs.UnitID][]jobs.Blob {
	type author struct {
		newest time.Time
		parts  []jobs.Blob
	}
	units := map[jobs.UnitID]map[jobs.AgentID]author{}
	for _, e := range h.agent.node.Blobs.Entries() {
		for _, c := range e.Claims {
			if c.Kind != blobs.Checkpoint || c.Author == h.agent.node.ID() || h.agent.node.Store.Runnable(c.Job) != nil {
				continue
			}
			unit := jobs.UnitID{Job: c.Job, Unit: c.Unit}
			if units[unit] == nil {
				units[unit] = map[jobs.AgentID]author{}
			}
			a := units[unit][c.Author]
			if a.parts = append(a.parts, e.Blob); c.Since.After(a.newest) {
				a.newest = c.Since
			}
			units[unit][c.Author] = a
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[jobs.UnitID][]jobs.Blob{}
	for unit, authors := range units {
		var last author
		for _, a := range authors {
			if a.newest.After(last.newest) {
				last = a
			}
		}
		if slices.ContainsFunc(last.parts, func(b jobs.Blob) bool { return !slices.Contains(h.saved[unit], b) }) {
			out[unit] = last.parts
		}
	}
	return out
}

func (h *handover) save(ctx context.Context, unit jobs.UnitID, parts []jobs.Blob, members []peer.Member) {
	ctx, cancel := context.WithTimeout(ctx, leaveBlob)
	defer cancel()
	if _, err := h.agent.node.Client.PlaceCheckpoint(ctx, blobs.Parts{Unit: unit, Blobs: parts}, members); err != nil {
		h.failed(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saved[unit] = parts
}

func (h *handover) isPlaced(p placing) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.placed[p]
	return ok
}

func (h *handover) place(ctx context.Context, claim blobs.Claim, b jobs.Blob, members []peer.Member) {
	ctx, cancel := context.WithTimeout(ctx, leaveBlob)
	defer cancel()
	receipts, err := h.agent.node.Client.Place(ctx, claim, b, members)
	if err != nil {
		h.failed(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.placed[placing{claim.Job, b.Digest}] = receipts
}

// reports offers all reports of live jobs to the stewards that will keep them. Those count that do not leave
// themselves when they have them: whoever begins to later hands them over in turn.
func (h *handover) reports(ctx context.Context, members []peer.Member, left *gridv1.LeaveProgress) {
	store, need := h.agent.node.Store, peer.Needed(members)
	digests, takers := map[jobs.ShardID]jobs.Digest{}, map[jobs.ShardID][]peer.Member{}
	told := map[jobs.AgentID]error{} // what stewards said to the manifests and all else that is no report
	for _, shard := range store.OwnShards() {
		scope := records.Scope{Shard: shard, Reports: true}
		digest := store.Digest(scope)
		if store.Runnable(shard.Job) != nil || h.offered[shard] == digest {
			continue
		}
		digests[shard] = digest
		for _, m := range peer.Stewards(shard, members) {
			if _, ok := told[m.ID]; !ok {
				told[m.ID] = h.offer(ctx, m, records.Scope{})
			}
			err := told[m.ID]
			if err == nil {
				err = h.offer(ctx, m, scope)
			}
			if err == nil {
				takers[shard] = append(takers[shard], m)
				continue
			}
			h.failed(err)
		}
	}
	stays := map[jobs.AgentID]bool{}
	for shard, digest := range digests {
		kept := 0
		for _, m := range takers[shard] {
			if _, asked := stays[m.ID]; !asked {
				stays[m.ID] = h.stays(ctx, m)
			}
			if stays[m.ID] {
				kept++
			}
		}
		if kept >= need {
			h.offered[shard] = digest
			continue
		}
		left.Reports += uint32(len(store.IDs(records.Scope{Shard: shard, Reports: true})))
	}
}

// stays asks a steward whether it takes things from others. Word of one that just stopped to may not be here yet.
func (h *handover) stays(ctx context.Context, m peer.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, leaveCall)
	defer cancel()
	conn, err := h.agent.node.Dialer.Conn(m.Address, m.ID)
	var reply *gridv1.ListReply
	if err == nil {
		reply, err = gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
	}
	if err != nil {
		h.failed(err)
		return false
	}
	ok := slices.ContainsFunc(reply.GetMembers(), func(self *gridv1.Member) bool {
		return bytes.Equal(self.GetId(), m.ID[:]) && !self.GetDraining()
	})
	if !ok {
		h.failed(jobs.Errorf(jobs.Unavailable, "steward %s takes nothing any more", m.ID.Short()))
	}
	return ok
}

// offer gives a steward the records of a scope that it lacks.
func (h *handover) offer(ctx context.Context, to peer.Member, scope records.Scope) error {
	ctx, cancel := context.WithTimeout(ctx, leaveCall)
	defer cancel()
	conn, err := h.agent.node.Dialer.Conn(to.Address, to.ID)
	if err != nil {
		return err
	}
	refused, err := h.agent.node.Store.Sync(ctx, conn, scope, records.Offering)
	if err != nil {
		return fmt.Errorf("steward %s: %w", to.ID.Short(), err)
	}
	for _, r := range refused {
		if err := h.mend(ctx, conn, r); err != nil {
			return fmt.Errorf("steward %s refuses a report: %w", to.ID.Short(), err)
		}
	}
	return nil
}

// mend offers a report once more that a steward refused, with receipts of those who hold its pack now. What is
// refused for good, or has its pack elsewhere, is for its author to see to, who has it as well; this agent's own
// packs are all here.
func (h *handover) mend(ctx context.Context, conn grpc.ClientConnInterface, r records.Refusal) error {
	o, err := h.agent.node.Store.Get(r.ID)
	if r.Final || jobs.KindOf(err) == jobs.NotFound || o.Envelope.Type != record.TypeReport {
		return nil
	}
	if err != nil {
		return err
	}
	report, err := record.DecodeReport(o.Envelope.Payload)
	if err != nil {
		return err
	}
	h.mu.Lock()
	receipts := h.placed[placing{report.Job, report.Pack.Digest}]
	h.mu.Unlock()
	if receipts == nil && report.Author != h.agent.node.ID() {
		return nil
	}
	o.Receipts = receipts
	refused, err := records.Push(ctx, conn, []records.Offer{o}, false)
	if err == nil && len(refused) > 0 && !refused[0].Final {
		err = jobs.Errorf(jobs.Unavailable, "%s", refused[0].Reason)
	}
	return err
}
