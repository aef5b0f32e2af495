package rpc

import (
	"context"
	"slices"
	"sync"
	"time"

	grpcpeer "google.golang.org/grpc/peer"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Rule says who may call one method.
type Rule struct {
	Roles   []peer.Role
	Expired bool // also callers whose certificate has ended
}

// Table maps full method names to rules. What it does not list is denied.
type Table map[string]Rule

// Access returns the table of all methods (P10). Which job a caller may touch, the handlers check beside it.
func Access() Table {
	const (
		nobody      = peer.Anonymous
		agent       = peer.Agent
		coordinator = peer.Coordinator
		submitter   = peer.Submitter
		operator    = peer.Operator
	)
	roles := func(r ...peer.Role) Rule { return Rule{Roles: r} }
	return Table{
		gridv1.Coordinator_Enrol_FullMethodName: {
			Roles: []peer.Role{nobody, agent, coordinator, submitter, operator}, Expired: true,
		},
		gridv1.Coordinator_Renew_FullMethodName: {
			Roles: []peer.Role{agent, coordinator, submitter, operator}, Expired: true,
		},
		gridv1.Coordinator_Submit_FullMethodName: roles(submitter),
		gridv1.Page_Open_FullMethodName:          roles(submitter, operator),
		gridv1.Accounts_List_FullMethodName:      roles(submitter, operator), // a submitter: of its own work
		gridv1.Records_Sync_FullMethodName:       roles(agent, coordinator),
		gridv1.Records_Push_FullMethodName:       roles(agent, coordinator, submitter, operator), // people: their own words only
		gridv1.Records_Pull_FullMethodName:       roles(agent, coordinator, submitter, operator),
		gridv1.Steward_Exchange_FullMethodName:   roles(agent),
		gridv1.Steward_Summary_FullMethodName:    roles(agent, coordinator, submitter, operator),
		gridv1.Steward_Failures_FullMethodName:   roles(coordinator),
		gridv1.Steward_Notes_FullMethodName:      roles(agent),
		gridv1.Blobs_Get_FullMethodName:          roles(agent, coordinator, submitter, operator),
		gridv1.Blobs_Have_FullMethodName:         roles(agent, coordinator, submitter, operator),
		gridv1.Blobs_Put_FullMethodName:          roles(agent, coordinator, submitter),
		gridv1.Blobs_Release_FullMethodName:      roles(agent),
		gridv1.Members_List_FullMethodName:       roles(agent, coordinator, submitter, operator),
		gridv1.Members_DialBack_FullMethodName:   roles(agent, coordinator),
		gridv1.Machine_Inspect_FullMethodName:    roles(coordinator),
		gridv1.Control_Status_FullMethodName:     roles(agent, coordinator), // the peer itself only
		gridv1.Control_Leave_FullMethodName:      roles(agent, coordinator), // the peer itself only
	}
}

// access is the table, made once.
var access = sync.OnceValue(Access)

// Caller returns who called: what the TLS handshake proved, or the zero Caller. Expired is as of now, however
// old the connection is.
func Caller(ctx context.Context) identity.Caller { return infoOf(ctx).caller }

// infoOf returns what the connection of a call proved, or nothing.
func infoOf(ctx context.Context) authInfo {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return authInfo{}
	}
	info, _ := p.AuthInfo.(authInfo)
	c := &info.caller
	c.Expired = c.Role != peer.Anonymous && time.Now().After(c.NotAfter)
	return info
}

// WithCaller returns a context in which Caller finds c: for tests that call handlers without a connection. Over
// the wire nobody can set it.
func WithCaller(ctx context.Context, c identity.Caller) context.Context {
	return grpcpeer.NewContext(ctx, &grpcpeer.Peer{AuthInfo: newAuthInfo(c)})
}

// Allow returns the caller if the table lets it call the method. Each handler calls it first, with its own
// method's name and never with one that came over the wire.
func Allow(ctx context.Context, method string) (identity.Caller, error) {
	info := infoOf(ctx)
	c, rule := info.caller, access()[method]
	switch {
	case !slices.Contains(rule.Roles, c.Role) && c.Role == peer.Anonymous:
		return identity.Caller{}, jobs.WithHint(jobs.Errorf(jobs.Denied, "%s needs a certificate", method),
			"join the grid first: `gridagent join` or `gridctl login`, with a token")
	case !slices.Contains(rule.Roles, c.Role):
		return identity.Caller{}, jobs.Errorf(jobs.Denied, "%s is not for the role %s", method, c.Role)
	case c.Expired && !rule.Expired:
		return identity.Caller{}, jobs.WithHint(
			jobs.Errorf(jobs.Expired, "the certificate of %s ended at %s", c.ID.Short(), c.NotAfter.UTC().Format(time.RFC3339)),
			"renew it at the coordinator, and compare the clocks")
	}
	if info.called != nil {
		info.called(c, method)
	}
	return c, nil
}
