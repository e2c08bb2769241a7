package director_test

import (
	"os"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/record"
)

// documents keeps what every server of the tests answered, and what it was
// sent, to be checked against the schemas.
var documents *record.Recorder

func TestMain(m *testing.M) {
	os.Exit(record.Suite(func(r *record.Recorder) int {
		documents = r
		return m.Run()
	}))
}
