package gridtest

import (
	"context"
	"errors"
	"os"

	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/coordinator"
	gridv1 "idlegrid/proto/grid/v1"
)

// Token mints a token at the coordinator, as gridcoordinator token does.
func (g *Grid) Token(spec identity.TokenSpec) string {
	g.T.Helper()
	dir := g.open(g.Coordinator)
	spec.Addresses = []string{address(g.Coordinator.IP)}
	token, err := coordinator.Token(dir, spec)
	g.must(errors.Join(err, dir.Close()))
	return token
}

// Redeem has somebody new enrol with a token, and returns what the coordinator says.
func (g *Grid) Redeem(text string) error {
	g.T.Helper()
	token, err := identity.ParseToken(text)
	g.must(err)
	key, err := identity.NewKey()
	g.must(err)
	csr, err := identity.Request(key)
	g.must(err)
	ip := g.freeIP()
	defer g.Net.Stop(ip)
	dialer := rpc.NewDialer(rpc.DialOptions{Pin: token.Root, Dial: dialFrom(g.Net.Host(ip))})
	defer dialer.Close()
	conn, err := dialer.Conn(address(g.Coordinator.IP), g.Coordinator.node.ID())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err = gridv1.NewCoordinatorClient(conn).Enrol(ctx, &gridv1.EnrolRequest{Token: text, Csr: csr})
	return err
}

// Reissue replaces the issuing key of the coordinator, which is off, as gridcoordinator reissue does.
func (g *Grid) Reissue() {
	g.T.Helper()
	g.Coordinator.mustBeOff()
	dir, err := os.OpenRoot(g.Coordinator.State)
	g.must(err)
	g.must(errors.Join(coordinator.Reissue(dir), dir.Close()))
}
