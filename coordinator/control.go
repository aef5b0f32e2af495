package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/throughput"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxListed bounds the jobs, the submitters and the problems that status lists.
	maxListed = 200
	// maxText bounds a reason in status, in bytes.
	maxText = 300
	// issuerWarning is how long before its end the issuing certificate should be replaced: machines that are off
	// for long must find the new one too.
	issuerWarning = 90 * 24 * time.Hour
)

// control answers the commands on this machine.
type control struct {
	gridv1.UnimplementedControlServer
	coordinator *Coordinator
}

// Status tells what the coordinator knows of its grid.
func (s *control) Status(ctx context.Context, _ *gridv1.StatusRequest) (*gridv1.StatusReply, error) {
	c := s.coordinator
	if err := c.node.AllowSelf(ctx, gridv1.Control_Status_FullMethodName); err != nil {
		return nil, err
	}
	reply := c.node.Status()
	reply.Build = program.VersionOf("gridcoordinator").Version
	reply.Coordinator = &gridv1.CoordinatorStatus{IssuerEndsMs: c.issuer.UnixMilli()}
	if c.o.Metrics != nil {
		reply.Coordinator.Metrics = c.o.Metrics.Addr().String()
	}
	if c.page != nil {
		reply.Coordinator.Page = c.page.URL()
	}
	c.addJobs(reply.Coordinator)
	reply.Coordinator.Problems = problems(c.health(reply))
	return reply, nil
}

// Leave is for agents: a grid has no use for a coordinator that left it.
func (s *control) Leave(_ *gridv1.LeaveRequest, stream grpc.ServerStreamingServer[gridv1.LeaveProgress]) error {
	if err := s.coordinator.node.AllowSelf(stream.Context(), gridv1.Control_Leave_FullMethodName); err != nil {
		return err
	}
	return jobs.Errorf(jobs.Unsupported, "a coordinator does not leave its grid: stop it, and agents go on without it")
}

// addJobs lists the live jobs, the newest first, and whose they are.
func (c *Coordinator) addJobs(to *gridv1.CoordinatorStatus) {
	live := c.node.Store.Jobs(false)
	slices.Reverse(live)
	owners := map[jobs.KeyID]*gridv1.JobOwner{}
	for i, j := range live {
		by := j.Manifest.Submitter
		if owners[by] == nil && len(owners) < maxListed {
			owners[by] = &gridv1.JobOwner{Submitter: by[:], Owner: c.node.Store.Owner(by)}
			to.Owners = append(to.Owners, owners[by])
		}
		if owners[by] != nil {
			owners[by].LiveJobs++
		}
		if i < maxListed {
			to.Jobs = append(to.Jobs, c.jobOf(j))
		}
	}
	slices.SortStableFunc(to.Owners, func(a, b *gridv1.JobOwner) int { return cmp.Compare(b.GetLiveJobs(), a.GetLiveJobs()) })
}

func (c *Coordinator) jobOf(j records.Job) *gridv1.SeededJob {
	m, count, seeded := j.Manifest, c.gather.Job(j), c.seeder.Progress(j.ID)
	out := &gridv1.SeededJob{
		Job: j.ID[:], Name: m.Name, Submitter: m.Submitter[:], Owner: c.node.Store.Owner(m.Submitter),
		Units: m.Units, Accepted: count.Accepted, Failed: count.Failed, ExpiresMs: m.Expires.UnixMilli(),
		Seeded: uint32(seeded.Agents), BlobsWaiting: uint32(seeded.Waits), State: c.stateOf(j, count),
	}
	if seeded.Why != nil {
		out.Why = program.Brief(seeded.Why.Error(), maxText)
	}
	return out
}

func (c *Coordinator) stateOf(j records.Job, count throughput.Count) string {
	cancelled, sealed := c.node.Store.Over(j.ID)
	return stateOf(j.Manifest.Units, count, cancelled, sealed)
}

// stateOf names the state of a job as gridctl does.
func stateOf(units uint64, c throughput.Count, cancelled, sealed bool) string {
	switch {
	case cancelled:
		return web.Cancelled
	case sealed:
		return web.Sealed
	case !c.Known:
		return web.Unknown
	case c.Open > 0:
		return web.Running
	case c.Accepted == units:
		return web.Done
	default:
		return web.Incomplete
	}
}

// health is what problems looks at.
type health struct {
	now         time.Time
	agents      int // in the pool
	reachable   int // that may keep records
	draining    int
	unreachable int
	issuer      time.Time // when the issuing certificate ends
	clock       *gridv1.ClockStatus
	disk        error // why nothing can be written
	used        *gridv1.DiskStatus
	jobs        []*gridv1.SeededJob
}

func (c *Coordinator) health(reply *gridv1.StatusReply) health {
	h := health{
		now: time.Now(), issuer: c.issuer, clock: reply.GetClock(), disk: c.node.Disk(), used: reply.GetDisk(), jobs: reply.GetCoordinator().GetJobs(),
	}
	for _, m := range c.node.Members() {
		switch {
		case m.Role != peer.Agent:
			continue
		case m.Draining:
			h.draining++
		case !m.Reachable:
			h.unreachable++
		case m.Eligible():
			h.reachable++
		}
		h.agents++
	}
	return h
}

// problems says what the operator should look at, a sentence each, the worst first.
func problems(h health) []string {
	var out []string
	add := func(is bool, format string, args ...any) {
		if is && len(out) < maxListed {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(h.disk != nil, "this coordinator cannot write to its state folder: %v", h.disk)
	add(h.reachable == 0, "no agent can be reached: jobs wait until one can")
	add(h.reachable == 1, "only one agent can be reached: results are on one machine only")
	add(h.unreachable > 0, "of %d agents %d cannot be dialled by others: they keep nothing; open their port, or set --advertise", h.agents, h.unreachable)
	add(h.draining > 0, "of %d agents %d are draining: they keep nothing new", h.agents, h.draining)
	add(h.clock.GetOff(), "this machine's clock is off: nothing is expired or deleted here until it is right")
	add(h.now.After(h.issuer), "the issuing certificate ended on %s: gridcoordinator reissue", h.issuer.Format(time.DateOnly))
	add(!h.now.After(h.issuer) && h.issuer.Sub(h.now) < issuerWarning, "the issuing certificate ends on %s: gridcoordinator reissue", h.issuer.Format(time.DateOnly))
	quota, bytes := h.used.GetQuota(), h.used.GetBytes()
	add(quota > 0 && bytes > quota/10*9, "blobs take %s of the %s that max_disk_mib allows", program.Bytes(bytes), program.Bytes(quota))
	for _, j := range h.jobs {
		name := j.GetName()
		switch {
		case j.GetState() == web.Cancelled || j.GetState() == web.Sealed:
		case j.GetSeeded() == 0 && j.GetWhy() != "" && h.reachable > 0:
			add(true, "job %s cannot be handed over: %s", name, j.GetWhy())
		case j.GetSeeded() > 0 && j.GetState() == web.Unknown:
			add(true, "job %s: not all of its stewards have answered", name)
		}
	}
	return out
}
