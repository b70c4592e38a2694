// Command conformance runs the conformance cases with the generated Go client:
// `conformance ADDRESS ADMIN_ADDRESS CASES_DIRECTORY`.
//
// One line per case: `ok NAME` or `failed NAME: reason`.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const (
	domain   = "holdfast.dev"
	timeoutS = 20
)

type testCase struct {
	Name  string `json:"name"`
	Steps []step `json:"steps"`
}

type step struct {
	Call     string            `json:"call"`
	Request  any               `json:"request"`
	Metadata map[string]string `json:"metadata"`
	TimeoutS float64           `json:"timeout_s"`
	Open     string            `json:"open"`
	Read     string            `json:"read"`
	Take     map[string]int    `json:"take"`
	Reply    any               `json:"reply"`
	Error    map[string]any    `json:"error"`
}

func connect(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: conformance ADDRESS ADMIN_ADDRESS CASES_DIRECTORY")
	}
	methods := methodsOf(connect(os.Args[1]), connect(os.Args[2]))
	files, err := filepath.Glob(filepath.Join(os.Args[3], "*.json"))
	if err != nil {
		log.Fatal(err)
	}
	failed := false
	for _, file := range files {
		for _, each := range read(file) {
			name := strings.TrimSuffix(filepath.Base(file), ".json") + "/" + each.Name
			if err := runCase(methods, each.Steps); err != nil {
				failed = true
				fmt.Printf("failed %s: %s\n", name, strings.Join(strings.Fields(err.Error()), " "))
			} else {
				fmt.Printf("ok %s\n", name)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}

func read(file string) []testCase {
	data, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var cases []testCase
	if err := json.Unmarshal(data, &cases); err != nil {
		log.Fatalf("%s: %v", file, err)
	}
	return cases
}

func runCase(methods map[string]method, steps []step) error {
	unique := make([]byte, 8)
	if _, err := rand.Read(unique); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	// It ends the streams that are open.
	defer cancel()
	run := caseRun{
		methods:   methods,
		variables: map[string]any{"unique": hex.EncodeToString(unique)},
		streams:   map[string]answers{},
	}
	for index, each := range steps {
		if err := run.step(ctx, each); err != nil {
			return fmt.Errorf("step %d (%s%s): %w", index+1, each.Call, each.Read, err)
		}
	}
	return nil
}

type caseRun struct {
	methods   map[string]method
	variables map[string]any
	streams   map[string]answers
}

func (run *caseRun) step(ctx context.Context, step step) error {
	if step.Read != "" {
		return run.read(run.streams[step.Read], step)
	}
	call, known := run.methods[step.Call]
	if !known {
		return fmt.Errorf("there is no such method")
	}
	expanded, err := expand(step.Request, run.variables)
	if err != nil {
		return err
	}
	request, err := json.Marshal(expanded)
	if err != nil {
		return err
	}
	if step.TimeoutS == 0 {
		step.TimeoutS = timeoutS
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(step.Metadata))
	if step.Open == "" {
		limited, cancel := context.WithTimeout(ctx, time.Duration(step.TimeoutS*float64(time.Second)))
		defer cancel()
		ctx = limited
	}
	stream, err := call(ctx, request)
	if err != nil {
		return err
	}
	if step.Open != "" {
		run.streams[step.Open] = stream
	}
	return run.read(stream, step)
}

func (run *caseRun) read(stream answers, step step) error {
	reply, failure, err := stream(step.enough)
	if err != nil {
		return err
	}
	return check(step, reply, failure, run.variables)
}

// enough tells whether a step reads no further: it has as many items as it takes, or opens
// a stream.
func (step step) enough(reply any) bool {
	if step.Take == nil {
		return step.Open != ""
	}
	for name, count := range step.Take {
		items, _ := reply.(map[string]any)[name].([]any)
		if len(items) < count {
			return false
		}
	}
	return true
}

func check(step step, reply any, failure error, variables map[string]any) error {
	if failure != nil && step.Error == nil {
		return fmt.Errorf("failed: %s", text(describe(failure)))
	}
	if step.Error != nil {
		if failure == nil {
			return fmt.Errorf("did not fail")
		}
		wanted := map[string]any{}
		if _, named := step.Error["reason"]; named {
			wanted["domain"] = domain
		}
		for key, value := range step.Error {
			wanted[key] = value
		}
		if err := match(wanted, describe(failure), variables, "error"); err != nil {
			return err
		}
	}
	if step.Reply == nil {
		return nil
	}
	return match(step.Reply, reply, variables, "reply")
}
