package executor_test

import "testing"

func TestSmoke(t *testing.T) {
	p := newPool(t, 1)
	t.Log(succeed(t, p, goGuest(t), unit("echo", "a", "b")))
	prog := program(t, module{body: bodyNoop, pages: 1}.bytes())
	succeed(t, p, prog, unit())
	t.Log(mustRun(t, p, program(t, module{body: bodyTrap, pages: 1}.bytes()), unit()))
}

func BenchmarkNoop(b *testing.B) {
	p := newPool(b, 1)
	prog := program(b, module{body: bodyNoop, pages: 1}.bytes())
	u := unit()
	for b.Loop() {
		succeed(b, p, prog, u)
	}
}
