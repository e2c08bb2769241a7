package cloud

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/sim/director"
	rec "github.com/vappvault/vappvault/internal/sim/record"
)

// wire keeps what vCDs answered and were sent, to be checked in the end.
var wire *rec.Recorder

func TestMain(m *testing.M) {
	os.Exit(rec.Suite(func(r *rec.Recorder) int {
		wire = r
		return m.Run()
	}))
}

// start runs a cloud until the test ends; nil is the default inventory.
func start(t *testing.T, inventory *Inventory, recorder func(director.Exchange)) *Cloud {
	t.Helper()
	if recorder == nil {
		recorder = wire.Exchange
	}
	c, err := Start(Options{Inventory: inventory, Dir: t.TempDir(), Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// within is a context that ends before go test loses its patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func parse(t *testing.T, text string) *Inventory {
	t.Helper()
	inventory, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inventory
}
