package agent_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	gridv1 "idlegrid/proto/grid/v1"
)

// names are messages and what each consists of.
type names map[string][]string

// TestPrivacyPage: deploy/docs/privacy.md lists all that leaves a PC, field by field, and nothing that does not exist.
func TestPrivacyPage(t *testing.T) {
	page, want := readPage(t), protocol(t)
	maps.Copy(want, certificates(t))
	delete(page, "memberlist.Node") // package gossip, which alone knows memberlist, looks at it
	for name, fields := range want {
		for _, f := range fields {
			if !slices.Contains(page[name], f) {
				t.Errorf("%s.%s leaves PCs, and deploy/docs/privacy.md does not list it", name, f)
			}
		}
	}
	for name, fields := range page {
		for _, f := range fields {
			if !slices.Contains(want[name], f) {
				t.Errorf("deploy/docs/privacy.md lists %s.%s, which does not exist or leaves no PC", name, f)
			}
		}
	}
}

// readPage reads the rows of the page's tables of messages: | `Message` | `field` `field` | what it tells |.
func readPage(t *testing.T) names {
	t.Helper()
	text, err := os.ReadFile("../deploy/docs/privacy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "\n## Every field\n")
	if !found {
		t.Fatal("deploy/docs/privacy.md has no list of fields")
	}
	page := names{}
	for line := range strings.Lines(list) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if page[name] != nil || len(cells) != 5 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("expected one row with what %s tells: %s", name, line)
		}
		for _, field := range strings.Fields(cells[2]) {
			page[name] = append(page[name], strings.Trim(field, "`"))
		}
		if fields := slices.Sorted(slices.Values(page[name])); len(slices.Compact(fields)) != len(page[name]) {
			t.Errorf("a field of %s is listed twice", name)
		}
	}
	return page
}

// protocol returns the messages and enums of the protocol that may leave a PC: all but those that only its local socket
// and the pipes to its executors carry. A new one counts as leaving.
func protocol(t *testing.T) names {
	t.Helper()
	carried := map[protoreflect.FullName]bool{} // by calls over the network
	for method := range rpc.Access() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(method[1:], "/", ".")))
		if err != nil {
			t.Fatal(err)
		}
		m := d.(protoreflect.MethodDescriptor)
		reach(m.Input(), carried)
		reach(m.Output(), carried)
	}
	piped := map[protoreflect.FullName]bool{}
	reach((&gridv1.ExecutorRequest{}).ProtoReflect().Descriptor(), piped)
	reach((&gridv1.ExecutorReply{}).ProtoReflect().Descriptor(), piped)

	all := names{}
	protoregistry.GlobalFiles.RangeFilesByPackage("grid.v1", func(f protoreflect.FileDescriptor) bool {
		socket, pipes := f.Path() == "grid/v1/owner.proto", f.Path() == "grid/v1/executor.proto"
		for s := range each(f.Services()) {
			for m := range each(s.Methods()) {
				method := "/" + string(s.FullName()) + "/" + string(m.Name())
				if _, listed := rpc.Access()[method]; listed == socket {
					t.Errorf("%s is served over the network: %t, and stands in %s", method, listed, f.Path())
				}
			}
		}
		for m := range each(f.Messages()) {
			stays := socket || pipes && piped[m.FullName()]
			if stays && carried[m.FullName()] {
				t.Errorf("%s stands in %s, whose messages stay on the PC, and a call over the network has it", m.FullName(), f.Path())
			}
			if m.Messages().Len()+m.Enums().Len() > 0 {
				t.Errorf("%s has messages or enums in it, which this test does not look at", m.FullName())
			}
			for field := range each(m.Fields()) {
				if !stays {
					all[string(m.Name())] = append(all[string(m.Name())], string(field.Name()))
				}
			}
		}
		for e := range each(f.Enums()) {
			for v := range each(e.Values()) {
				all[string(e.Name())] = append(all[string(e.Name())], string(v.Name()))
			}
		}
		return true
	})
	if len(all) < 50 {
		t.Fatalf("the protocol has %d messages and enums", len(all))
	}
	return all
}

// reach adds a message and all that it may hold.
func reach(m protoreflect.MessageDescriptor, to map[protoreflect.FullName]bool) {
	if to[m.FullName()] {
		return
	}
	to[m.FullName()] = true
	for f := range each(m.Fields()) {
		if f.Message() != nil {
			reach(f.Message(), to)
		}
	}
}

// each goes over one of protoreflect's lists.
func each[T any](list interface {
	Len() int
	Get(i int) T
},
) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}

// certificates returns what an agent's certificate and the request for it say.
func certificates(t *testing.T) names {
	t.Helper()
	id := identitytest.NewGrid(t).Agent()
	der, err := identity.Request(id.Key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(id.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	// Uses of the key, basic constraints, the authority's key ID, and the URI: each is a field, too.
	if known := []string{"2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.35", "2.5.29.17"}; len(leaf.Extensions) != len(known) {
		t.Errorf("a certificate has the extensions %v, expected %v", leaf.Extensions, known)
	}
	return names{
		"x509.CertificateRequest": fieldsOf(reflect.ValueOf(*request)),
		"x509.Certificate":        fieldsOf(reflect.ValueOf(*leaf)),
	}
}

// fieldsOf returns those exported fields of a struct that say something. What is said twice, as raw bytes or extensions,
// counts once.
func fieldsOf(v reflect.Value) (fields []string) {
	for f, value := range v.Fields() {
		switch {
		case !f.IsExported() || strings.HasPrefix(f.Name, "Raw") || f.Name == "Extensions" || f.Name == "Names" || value.IsZero():
		case f.Type == reflect.TypeFor[pkix.Name]():
			for _, part := range fieldsOf(value) {
				fields = append(fields, f.Name+"."+part)
			}
		default:
			fields = append(fields, f.Name)
		}
	}
	return fields
}
