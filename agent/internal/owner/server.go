package owner

import (
	"context"
	"os/user"
	"path"
	"time"

	"idlegrid/agent/internal/local"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Server is an Owner on the local socket.
type Server struct {
	gridv1.UnimplementedOwnerServer
	owner *Owner
	panel func() string
}

// NewServer serves o. panel gives an address that lets into the owner's page; nil: there is no page.
func NewServer(o *Owner, panel func() string) *Server { return &Server{owner: o, panel: panel} }

// allow lets in who is logged in at the PC, its administrator and the agent's own user, for every method alike, and
// notes who it was.
func (s *Server) allow(ctx context.Context, method string) error {
	c, ok := local.CallerFrom(ctx)
	if !ok {
		return jobs.Errorf(jobs.Denied, "%s is for programs on this PC only", method)
	}
	if !local.Interactive(c) {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s is for people who are logged in at this PC", method),
			"call it in a session of a user, or as the administrator")
	}
	s.owner.Looked(nameOf(c), path.Base(method))
	return nil
}

// nameOf says who calls, for people.
func nameOf(c local.Caller) string {
	if c.User == "" {
		return "session " + c.Session
	}
	if u, err := user.LookupId(c.User); err == nil && u.Username != "" {
		return u.Username
	}
	return "user " + c.User // the system knows no name
}

// Look implements gridv1.OwnerServer.
func (s *Server) Look(ctx context.Context, _ *gridv1.LookRequest) (*gridv1.LookReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Look_FullMethodName); err != nil {
		return nil, err
	}
	return s.owner.Look(ctx), nil
}

// Why implements gridv1.OwnerServer.
func (s *Server) Why(ctx context.Context, _ *gridv1.WhyRequest) (*gridv1.WhyReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Why_FullMethodName); err != nil {
		return nil, err
	}
	return s.owner.Why(), nil
}

// Pause implements gridv1.OwnerServer.
func (s *Server) Pause(ctx context.Context, r *gridv1.PauseRequest) (*gridv1.PauseReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Pause_FullMethodName); err != nil {
		return nil, err
	}
	return pause(r, s.owner.Pause)
}

// StopJobs implements gridv1.OwnerServer.
func (s *Server) StopJobs(ctx context.Context, r *gridv1.PauseRequest) (*gridv1.PauseReply, error) {
	if err := s.allow(ctx, gridv1.Owner_StopJobs_FullMethodName); err != nil {
		return nil, err
	}
	return pause(r, s.owner.StopJobs)
}

func pause(r *gridv1.PauseRequest, do func(time.Time) error) (*gridv1.PauseReply, error) {
	at, err := until(r, time.Now())
	if err == nil {
		err = do(at)
	}
	if err != nil {
		return nil, err
	}
	return &gridv1.PauseReply{UntilMs: ms(at)}, nil
}

// Resume implements gridv1.OwnerServer.
func (s *Server) Resume(ctx context.Context, _ *gridv1.ResumeRequest) (*gridv1.ResumeReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Resume_FullMethodName); err != nil {
		return nil, err
	}
	paused, err := s.owner.Resume()
	return &gridv1.ResumeReply{Paused: paused}, err
}

// History implements gridv1.OwnerServer.
func (s *Server) History(ctx context.Context, r *gridv1.HistoryRequest) (*gridv1.HistoryReply, error) {
	if err := s.allow(ctx, gridv1.Owner_History_FullMethodName); err != nil {
		return nil, err
	}
	return s.owner.History(int(r.GetLimit()), int(r.GetSkip()))
}

// Policy implements gridv1.OwnerServer.
func (s *Server) Policy(ctx context.Context, _ *gridv1.PolicyRequest) (*gridv1.PolicyReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Policy_FullMethodName); err != nil {
		return nil, err
	}
	return s.owner.Policy(), nil
}

// SetPolicy implements gridv1.OwnerServer.
func (s *Server) SetPolicy(ctx context.Context, r *gridv1.SetPolicyRequest) (*gridv1.SetPolicyReply, error) {
	if err := s.allow(ctx, gridv1.Owner_SetPolicy_FullMethodName); err != nil {
		return nil, err
	}
	return s.owner.SetPolicy(r.GetKey(), r.Value)
}

// Panel implements gridv1.OwnerServer.
func (s *Server) Panel(ctx context.Context, _ *gridv1.PanelRequest) (*gridv1.PanelReply, error) {
	if err := s.allow(ctx, gridv1.Owner_Panel_FullMethodName); err != nil {
		return nil, err
	}
	if s.panel == nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Unsupported, "this agent has no page"), "`gridagent status` tells the same")
	}
	return &gridv1.PanelReply{Url: s.panel()}, nil
}
