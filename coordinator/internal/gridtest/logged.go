package gridtest

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// log is what a machine has said, from its first start on.
type log struct {
	mu       sync.Mutex // guards messages
	messages map[string]int
}

// heard is a slog.Handler that keeps a machine's messages and passes them on.
type heard struct {
	next slog.Handler
	log  *log
}

// Logged returns how often the machine logged a message that contains the text, at level Info or above.
func (m *Machine) Logged(text string) int {
	l := m.heard.log
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := 0
	for message, n := range l.messages {
		if strings.Contains(message, text) {
			sum += n
		}
	}
	return sum
}

// Enabled implements slog.Handler.
func (h *heard) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h *heard) Handle(ctx context.Context, r slog.Record) error {
	h.log.mu.Lock()
	if h.log.messages == nil {
		h.log.messages = map[string]int{}
	}
	h.log.messages[r.Message]++
	h.log.mu.Unlock()
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *heard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &heard{h.next.WithAttrs(attrs), h.log}
}

// WithGroup implements slog.Handler.
func (h *heard) WithGroup(name string) slog.Handler { return &heard{h.next.WithGroup(name), h.log} }
