package agent

import (
	"context"
	"time"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

// workerTimeout bounds a question to the worker.
const workerTimeout = 2 * time.Second

// control answers the commands on this machine.
type control struct {
	gridv1.UnimplementedControlServer
	agent *Agent
}

// Status tells what the agent does and why.
func (c *control) Status(ctx context.Context, _ *gridv1.StatusRequest) (*gridv1.StatusReply, error) {
	a := c.agent
	if err := a.node.AllowSelf(ctx, gridv1.Control_Status_FullMethodName); err != nil {
		return nil, err
	}
	reply := a.node.Status()
	reply.Build, reply.Agent = program.VersionOf("gridagent").Version, &gridv1.AgentStatus{}
	a.AddWork(ctx, reply.Agent)
	list, more := a.steward.Stewardships()
	reply.Agent.MoreStewardships = more
	for _, s := range list {
		reply.Agent.Stewardships = append(reply.Agent.Stewardships, &gridv1.Stewardship{
			Job: s.Job.ID[:], Name: s.Job.Manifest.Name, Shard: s.Shard, Rank: uint32(s.Rank),
			Open: s.Open, Lent: uint64(s.Lent), Lessees: uint32(s.Lessees),
		})
	}
	return reply, nil
}

// AddWork adds what the worker does, or why there is none.
func (a *Agent) AddWork(ctx context.Context, to *gridv1.AgentStatus) {
	if a.worker == nil {
		to.Idle = []string{a.refusal}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	s, err := a.worker.Status(ctx)
	if err != nil {
		to.Idle = []string{err.Error()}
		return
	}
	to.Slots, to.Queued, to.Held = uint32(s.Slots), uint64(s.Queued), uint64(s.Held)
	to.UnkeptBytes, to.ReportsWaiting = uint64(s.Unkept), uint32(s.Reports)
	for _, r := range s.Running {
		m := r.Job.Manifest
		u := &gridv1.RunningUnit{
			Job: r.Job.ID[:], Name: m.Name, Unit: r.Unit, SinceMs: r.Since.UnixMilli(),
			Submitter: m.Submitter[:], Owner: a.node.Store.Owner(m.Submitter),
			Done: r.Done, SavedBytes: uint64(r.SavedBytes), Resumed: r.Resumed, Frozen: r.Frozen,
		}
		if !r.Saved.IsZero() {
			u.SavedMs = r.Saved.UnixMilli()
		}
		to.Running = append(to.Running, u)
	}
	to.Idle = s.Idle
	if a.harvest == nil {
		return
	}
	if d := a.harvest.Status().Decision; d.Cores < s.Slots && d.Why != "" {
		to.Idle = append(to.Idle, d.Why)
	}
}
