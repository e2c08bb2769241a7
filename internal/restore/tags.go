package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/vappvault/vappvault/internal/vcd"
)

// securityTags is the body of /cloudapi/1.0.0/securityTags/vm/URN.
type securityTags struct {
	Tags []string `json:"tags"`
}

// applyTags gives the VMs the security tags they had. A server that had none
// of that call when the point was made has no document in it.
func (r *run) applyTags(ctx context.Context) error {
	for _, res := range r.result.VMs {
		if err := r.applyVMTags(ctx, vmPath(res.OldID, "securityTags.json"), res.NewID); err != nil {
			return fmt.Errorf("vm %s: security tags: %w", res.Name, err)
		}
	}
	return nil
}

func (r *run) applyVMTags(ctx context.Context, path, urn string) error {
	raw, ok := r.docs[path]
	if !ok {
		return nil
	}
	var want, now securityTags
	if err := json.Unmarshal(raw, &want); err != nil {
		return fmt.Errorf("document %s: %w", path, err)
	}
	request := vcd.Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/securityTags/vm/" + urn}
	answer, err := r.VCD.Do(ctx, request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, &now); err != nil {
		return err
	}
	slices.Sort(want.Tags)
	slices.Sort(now.Tags)
	if slices.Equal(want.Tags, now.Tags) {
		return nil
	}
	request.Method, request.ContentType = http.MethodPut, "application/json"
	if request.Body, err = json.Marshal(want); err != nil {
		return err
	}
	_, err = r.VCD.Do(ctx, request)
	return err
}
