package director_test

import (
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

func FuzzJSONBody(f *testing.F) {
	for _, s := range []string{`{"name":"x","resourcePoolRefs":{"vimObjectRef":[{"moRef":"a"}]}}`, `{"name":{"a":1},"storageProfile":[null,1,[2],{"x":3}]}`, `[]`, `{"isEnabled":1e300}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		// The law: what is taken for a document is one that can be written.
		if err := director.JSONBody(body); err != nil {
			t.Error(err)
		}
	})
}
