package rpc_test

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// services are all services of the protocol.
func services() []grpc.ServiceDesc {
	return []grpc.ServiceDesc{
		gridv1.Coordinator_ServiceDesc, gridv1.Page_ServiceDesc, gridv1.Accounts_ServiceDesc, gridv1.Records_ServiceDesc,
		gridv1.Steward_ServiceDesc, gridv1.Blobs_ServiceDesc, gridv1.Members_ServiceDesc, gridv1.Machine_ServiceDesc, gridv1.Control_ServiceDesc,
	}
}

// promised is P10's table, written out a second time: who may call what. The columns are the callers below.
const promised = `
                             anonymous agent coordinator submitter operator expired
/grid.v1.Coordinator/Enrol       yes    yes     yes         yes       yes     yes
/grid.v1.Coordinator/Renew       -      yes     yes         yes       yes     yes
/grid.v1.Coordinator/Submit      -      -       -           yes       -       -
/grid.v1.Page/Open               -      -       -           yes       yes     -
/grid.v1.Accounts/List           -      -       -           yes       yes     -
/grid.v1.Records/Sync            -      yes     yes         -         -       -
/grid.v1.Records/Push            -      yes     yes         yes       yes     -
/grid.v1.Records/Pull            -      yes     yes         yes       yes     -
/grid.v1.Steward/Exchange        -      yes     -           -         -       -
/grid.v1.Steward/Summary         -      yes     yes         yes       yes     -
/grid.v1.Steward/Failures        -      -       yes         -         -       -
/grid.v1.Steward/Notes           -      yes     -           -         -       -
/grid.v1.Blobs/Get               -      yes     yes         yes       yes     -
/grid.v1.Blobs/Have              -      yes     yes         yes       yes     -
/grid.v1.Blobs/Put               -      yes     yes         yes       -       -
/grid.v1.Blobs/Release           -      yes     -           -         -       -
/grid.v1.Members/List            -      yes     yes         yes       yes     -
/grid.v1.Members/DialBack        -      yes     yes         -         -       -
/grid.v1.Machine/Inspect         -      -       yes         -         -       -
/grid.v1.Control/Status          -      yes     yes         -         -       -
/grid.v1.Control/Leave           -      yes     yes         -         -       -
`

// table reads promised: method, then caller, to whether it is allowed.
func table() map[string]map[string]bool {
	lines := strings.Split(strings.TrimSpace(promised), "\n")
	callers := strings.Fields(lines[0])
	all := map[string]map[string]bool{}
	for _, line := range lines[1:] {
		words := strings.Fields(line)
		all[words[0]] = map[string]bool{}
		for i, caller := range callers {
			all[words[0]][caller] = words[i+1] == "yes"
		}
	}
	return all
}

func TestP10EveryMethodHasAnEntry(t *testing.T) {
	var methods []string
	for _, s := range services() {
		for _, m := range s.Methods {
			methods = append(methods, "/"+s.ServiceName+"/"+m.MethodName)
		}
		for _, m := range s.Streams {
			methods = append(methods, "/"+s.ServiceName+"/"+m.StreamName)
		}
	}
	slices.Sort(methods)
	if in := slices.Sorted(maps.Keys(rpc.Access())); !slices.Equal(in, methods) {
		t.Errorf("the table has\n%q, the protocol\n%q", in, methods)
	}
	if in := slices.Sorted(maps.Keys(table())); !slices.Equal(in, methods) {
		t.Errorf("this test has\n%q, the protocol\n%q", in, methods)
	}
	files := gridv1.File_grid_v1_coordinator_proto.Services().Len() + gridv1.File_grid_v1_peer_proto.Services().Len() +
		gridv1.File_grid_v1_records_proto.Services().Len() + gridv1.File_grid_v1_control_proto.Services().Len()
	if files != len(services()) {
		t.Errorf("this test knows %d services, the protocol has %d", len(services()), files)
	}
}

// registerAll registers a handler for every method, which does nothing but ask Allow for the method that it
// is: a server as the grid's are, without what they do.
func registerAll(s *grpc.Server) {
	for _, desc := range services() {
		generic := grpc.ServiceDesc{ServiceName: desc.ServiceName, HandlerType: (*any)(nil)}
		for _, m := range desc.Methods {
			name := "/" + desc.ServiceName + "/" + m.MethodName
			generic.Methods = append(generic.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: unary(name)})
		}
		for _, m := range desc.Streams {
			name := "/" + desc.ServiceName + "/" + m.StreamName
			m.Handler = func(_ any, s grpc.ServerStream) error {
				if _, err := rpc.Allow(s.Context(), name); err != nil {
					return err
				}
				return s.SendMsg(&emptypb.Empty{})
			}
			generic.Streams = append(generic.Streams, m)
		}
		s.RegisterService(&generic, nil)
	}
}

func unary(name string) grpc.MethodHandler {
	allow := func(ctx context.Context, _ any) (any, error) {
		_, err := rpc.Allow(ctx, name)
		return &emptypb.Empty{}, err
	}
	return func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(emptypb.Empty)
		if err := decode(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: name}, allow)
	}
}

// call calls any method, streaming or not, and returns its error.
func call(ctx context.Context, c grpc.ClientConnInterface, method string) error {
	for _, s := range services() {
		for _, m := range s.Streams {
			if "/"+s.ServiceName+"/"+m.StreamName != method {
				continue
			}
			stream, err := c.NewStream(ctx, &m, method)
			if err != nil {
				return err
			}
			if err := stream.CloseSend(); err != nil {
				return err
			}
			return stream.RecvMsg(new(emptypb.Empty))
		}
	}
	return c.Invoke(ctx, method, new(emptypb.Empty), new(emptypb.Empty))
}

// TestP10 calls every method as everybody, over a real socket.
func TestP10(t *testing.T) {
	grid, other := identitytest.NewGrid(t), identitytest.NewGrid(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, l, rpc.ListenOptions{
		Identity: always(coordinator(grid)), Accept: identity.Accept{Anonymous: true, Expired: true},
	}, registerAll)
	for name, id := range map[string]*identity.Identity{
		"anonymous": nil, "agent": grid.Agent(), "coordinator": coordinator(grid),
		"submitter": grid.Role(peer.Submitter, "a"), "operator": grid.Role(peer.Operator, "a"),
	} {
		d := dialer(t, rpc.DialOptions{Identity: always(id), Root: grid.Root()})
		expectAccess(t, connect(t, d, server.Addr().String(), server.id.ID()), name)
	}
	stranger := dialer(t, rpc.DialOptions{Identity: always(other.Agent()), Root: grid.Root()})
	for method := range table() {
		err := call(t.Context(), connect(t, stranger, server.Addr().String(), server.id.ID()), method)
		if jobs.KindOf(err) != jobs.Unavailable || jobs.HintOf(err) == "" {
			t.Errorf("%s from another grid: %v", method, err)
		}
	}
}

// TestP10Expired is in virtual time, in which certificates end.
func TestP10Expired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		agent := grid.Agent()
		time.Sleep(identity.CertificateLife + time.Second)
		server := serve(t, net.listen("c"), rpc.ListenOptions{
			Identity: always(coordinator(grid)), Accept: identity.Accept{Anonymous: true, Expired: true},
		}, registerAll)
		d := dialer(t, rpc.DialOptions{Identity: always(agent), Root: grid.Root(), Dial: net.from("a")})
		expectAccess(t, connect(t, d, "c", server.id.ID()), "expired")
		strict := serve(t, net.listen("p"), rpc.ListenOptions{Identity: always(grid.Agent())}, registerAll)
		for method := range table() {
			err := call(t.Context(), connect(t, d, "p", strict.id.ID()), method)
			if jobs.KindOf(err) != jobs.Unavailable || jobs.HintOf(err) == "" {
				t.Errorf("%s at a peer that takes valid certificates only: %v", method, err)
			}
		}
	})
}

// expectAccess calls every method and compares with the table.
func expectAccess(t *testing.T, c grpc.ClientConnInterface, caller string) {
	t.Helper()
	for method, allowed := range table() {
		err := call(t.Context(), c, method)
		kind := jobs.Denied
		if role := map[bool]string{true: "agent", false: caller}[caller == "expired"]; allowed[role] {
			kind = jobs.Expired
		}
		if allowed[caller] && err != nil || !allowed[caller] && (err == nil || jobs.KindOf(err) != kind) {
			t.Errorf("%s calls %s: %v, expected allowed: %v", caller, method, err, allowed[caller])
		}
	}
}

func TestAConnectionOutlivesItsCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := rpc.WithCaller(t.Context(), identitytest.NewGrid(t).Agent().Caller())
		time.Sleep(identity.CertificateLife)
		if c, err := rpc.Allow(ctx, gridv1.Members_List_FullMethodName); err != nil || c.Expired {
			t.Errorf("%+v, %v", c, err)
		}
		time.Sleep(time.Second)
		if _, err := rpc.Allow(ctx, gridv1.Members_List_FullMethodName); jobs.KindOf(err) != jobs.Expired || jobs.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
		if c, err := rpc.Allow(ctx, gridv1.Coordinator_Renew_FullMethodName); err != nil || !c.Expired {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

func TestAllowDeniesWhatIsNotListed(t *testing.T) {
	grid := identitytest.NewGrid(t)
	for _, id := range []*identity.Identity{grid.Agent(), coordinator(grid), grid.Role(peer.Operator, "a")} {
		ctx := rpc.WithCaller(t.Context(), id.Caller())
		for _, method := range []string{"", "grid.v1.Members/List", "/grid.v1.Members/list", "/grid.v1.Members/List/", "/grpc.health.v1.Health/Check"} {
			if _, err := rpc.Allow(ctx, method); jobs.KindOf(err) != jobs.Denied {
				t.Errorf("%q: %v", method, err)
			}
		}
		if c, err := rpc.Allow(ctx, gridv1.Members_List_FullMethodName); err != nil || c.ID != id.ID() {
			t.Errorf("%+v, %v", c, err)
		}
	}
	for _, method := range []string{"", gridv1.Members_List_FullMethodName} {
		if _, err := rpc.Allow(context.Background(), method); jobs.KindOf(err) != jobs.Denied || jobs.HintOf(err) == "" {
			t.Errorf("%q without a caller: %v", method, err)
		}
	}
}
