package identity_test

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/jobs"
)

// handshake runs a handshake over a pipe and returns what each side says of it. With TLS 1.3 a client may
// believe that all is well while the server refuses it.
func handshake(t *testing.T, client, server *tls.Config) (state tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	near, far := net.Pipe()
	c, s := tls.Client(near, client), tls.Server(far, server)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	clientErr = c.Handshake()
	// Nobody reads an alert of the server's any more; a pipe would wait for ever.
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	serverErr = <-done
	if err := far.Close(); err != nil {
		t.Error(err)
	}
	return s.ConnectionState(), clientErr, serverErr
}

func always(id *identity.Identity) func() *identity.Identity {
	return func() *identity.Identity { return id }
}

func TestServerTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, other := identitytest.NewGrid(t), identitytest.NewGrid(t)
		expired := grid.Role(peer.Submitter, "late")
		time.Sleep(identity.CertificateLife + time.Second)
		server, fresh := grid.Role(peer.Coordinator, ""), grid.Agent()
		const no, yes, old = 0, 1, 2
		for name, c := range map[string]struct {
			client *identity.Identity
			want   [4]int // by accept: nothing more, anonymous, expired, both
		}{
			"valid":        {fresh, [4]int{yes, yes, yes, yes}},
			"anonymous":    {nil, [4]int{no, yes, no, yes}},
			"expired":      {expired, [4]int{no, no, old, old}},
			"another grid": {other.Agent(), [4]int{no, no, no, no}},
		} {
			for i, want := range c.want {
				accept := identity.Accept{Anonymous: i&1 != 0, Expired: i&2 != 0}
				client := identity.ClientTLS(c.client, grid.Root(), server.ID())
				state, _, err := handshake(t, client, identity.ServerTLS(always(server), accept))
				if (err == nil) != (want != no) {
					t.Errorf("%s, %+v: %v", name, accept, err)
					continue
				}
				if want == no {
					continue
				}
				caller, err := accept.Caller(state, grid.Root())
				if err != nil {
					t.Fatal(err)
				}
				if c.client != nil && caller.ID != c.client.ID() || caller.Expired != (want == old) || state.Version != tls.VersionTLS13 {
					t.Errorf("%s, %+v: %+v", name, accept, caller)
				}
			}
		}
	})
}

func TestClientTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, other := identitytest.NewGrid(t), identitytest.NewGrid(t)
		expired := grid.Agent()
		time.Sleep(identity.CertificateLife + time.Second)
		client, agent, coordinator := grid.Agent(), grid.Agent(), grid.Role(peer.Coordinator, "")
		for name, c := range map[string]struct {
			server *identity.Identity
			expect jobs.KeyID
			ok     bool
		}{
			"the one expected":     {agent, agent.ID(), true},
			"any agent":            {agent, jobs.KeyID{}, true},
			"any, the coordinator": {coordinator, jobs.KeyID{}, true},
			"another agent":        {agent, coordinator.ID(), false},
			"a submitter":          {grid.Role(peer.Submitter, "a"), jobs.KeyID{}, false},
			"an operator":          {grid.Role(peer.Operator, "a"), jobs.KeyID{}, false},
			"another grid":         {other.Agent(), jobs.KeyID{}, false},
			"expired":              {expired, expired.ID(), false},
		} {
			conf := identity.ClientTLS(client, grid.Root(), c.expect)
			_, err, _ := handshake(t, conf, identity.ServerTLS(always(c.server), identity.Accept{}))
			if (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestNewcomerTLS(t *testing.T) {
	grid, other := identitytest.NewGrid(t), identitytest.NewGrid(t)
	pin := jobs.DigestOf(grid.Root())
	imposter := other.Role(peer.Coordinator, "")
	imposter.Root = grid.Root() // shows the pinned root, beside a chain that does not lead to it
	for name, c := range map[string]struct {
		server *identity.Identity
		pin    jobs.Digest
		ok     bool
	}{
		"the coordinator":      {grid.Role(peer.Coordinator, ""), pin, true},
		"an agent":             {grid.Agent(), pin, false},
		"an operator":          {grid.Role(peer.Operator, "a"), pin, false},
		"another grid":         {other.Role(peer.Coordinator, ""), pin, false},
		"imposter":             {imposter, pin, false},
		"no pin":               {grid.Role(peer.Coordinator, ""), jobs.Digest{}, false},
		"the issuer as a root": {grid.Role(peer.Coordinator, ""), jobs.DigestOf(grid.Agent().Chain[1]), false},
	} {
		_, err, _ := handshake(t, identity.NewcomerTLS(c.pin), identity.ServerTLS(always(c.server), identity.Accept{Anonymous: true}))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSVersion(t *testing.T) {
	grid := identitytest.NewGrid(t)
	client := identity.ClientTLS(grid.Agent(), grid.Root(), jobs.KeyID{})
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := handshake(t, client, identity.ServerTLS(always(grid.Agent()), identity.Accept{})); err == nil {
		t.Error("TLS 1.2 was taken")
	}
}

func TestServerShowsTheCurrentIdentity(t *testing.T) {
	grid := identitytest.NewGrid(t)
	current := grid.Agent()
	server := identity.ServerTLS(func() *identity.Identity { return current }, identity.Accept{})
	for range 2 {
		current = grid.Agent()
		if _, err, _ := handshake(t, identity.ClientTLS(grid.Agent(), grid.Root(), current.ID()), server); err != nil {
			t.Error(err)
		}
	}
}
