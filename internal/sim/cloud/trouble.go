package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"sync"
	"time"
)

// tellEvery is how often the same trouble is told.
const tellEvery = time.Minute

// trouble tells that servers cannot save themselves, as it begins, when its
// cause changes and every minute, and when it is over.
type trouble struct {
	tell func(string)
	now  func() time.Time

	mu   sync.Mutex
	told map[string]told // by server
}

type told struct {
	cause string
	at    time.Time
}

func newTrouble(tell func(string)) *trouble {
	if tell == nil {
		tell = func(line string) { log.Print("vcdsim: ", line) }
	}
	return &trouble{tell: tell, now: time.Now, told: map[string]told{}}
}

// saved notes how a save of a server went.
func (t *trouble) saved(server string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, bad := t.told[server]
	if err == nil {
		if bad {
			delete(t.told, server)
			t.tell(server + ": is saved again")
		}
		return
	}
	cause := err.Error()
	var file *fs.PathError // whose name may be another one each time
	if errors.As(err, &file) {
		cause = file.Err.Error()
	}
	now := t.now()
	if bad && before.cause == cause && now.Sub(before.at) < tellEvery {
		return
	}
	t.told[server] = told{cause, now}
	t.tell(fmt.Sprintf("%s: what changes is not saved: %v", server, err))
}
