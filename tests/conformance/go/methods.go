package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	holdfastv1 "holdfast.dev/gen/go/holdfast/v1"
)

// A method begins a call with a request in protobuf JSON, or says why it cannot be made.
type method func(ctx context.Context, request []byte) (answers, error)

// Answers read on until it is enough, or the call is over. They give the reply in protobuf
// JSON, of a stream the messages that came in one; and how the call failed.
type answers func(enough func(reply any) bool) (reply any, failure error, err error)

// A message is a pointer to a generated struct.
type message[T any] interface {
	*T
	proto.Message
}

func methodsOf(connection, admin grpc.ClientConnInterface) map[string]method {
	actors := holdfastv1.NewActorServiceClient(connection)
	letters := holdfastv1.NewDeadLetterServiceClient(connection)
	events := holdfastv1.NewEventServiceClient(connection)
	kv := holdfastv1.NewKvServiceClient(connection)
	schedules := holdfastv1.NewScheduleServiceClient(connection)
	operators := holdfastv1.NewAdminServiceClient(admin)
	return map[string]method{
		"holdfast.v1.ActorService/CreateActor":            unary(actors.CreateActor),
		"holdfast.v1.ActorService/GetOrCreateActor":       unary(actors.GetOrCreateActor),
		"holdfast.v1.ActorService/GetActor":               unary(actors.GetActor),
		"holdfast.v1.ActorService/ListActors":             unary(actors.ListActors),
		"holdfast.v1.ActorService/DestroyActor":           unary(actors.DestroyActor),
		"holdfast.v1.ActorService/InvokeAction":           unary(actors.InvokeAction),
		"holdfast.v1.ActorService/StreamAction":           streaming(actors.StreamAction),
		"holdfast.v1.ActorService/DescribeActors":         unary(actors.DescribeActors),
		"holdfast.v1.AdminService/Explain":                unary(operators.Explain),
		"holdfast.v1.AdminService/CreateBackup":           unary(operators.CreateBackup),
		"holdfast.v1.DeadLetterService/ListDeadLetters":   unary(letters.ListDeadLetters),
		"holdfast.v1.DeadLetterService/RetryDeadLetter":   unary(letters.RetryDeadLetter),
		"holdfast.v1.DeadLetterService/DiscardDeadLetter": unary(letters.DiscardDeadLetter),
		"holdfast.v1.EventService/SubscribeEvents":        streaming(events.SubscribeEvents),
		"holdfast.v1.KvService/GetKvEntries":              unary(kv.GetKvEntries),
		"holdfast.v1.KvService/ListKvEntries":             unary(kv.ListKvEntries),
		"holdfast.v1.ScheduleService/ListSchedules":       unary(schedules.ListSchedules),
		"holdfast.v1.ScheduleService/GetSchedule":         unary(schedules.GetSchedule),
		"holdfast.v1.ScheduleService/CancelSchedule":      unary(schedules.CancelSchedule),
		"holdfast.v1.ScheduleService/RunScheduleNow":      unary(schedules.RunScheduleNow),
		"holdfast.v1.ScheduleService/PauseSchedule":       unary(schedules.PauseSchedule),
		"holdfast.v1.ScheduleService/ResumeSchedule":      unary(schedules.ResumeSchedule),
		"holdfast.v1.ScheduleService/GetScheduleHistory":  unary(schedules.GetScheduleHistory),
		"holdfast.v1.ScheduleService/ListDeadSchedules":   unary(schedules.ListDeadSchedules),
		"holdfast.v1.ScheduleService/RerunDeadSchedule":   unary(schedules.RerunDeadSchedule),
		"holdfast.v1.ScheduleService/DiscardDeadSchedule": unary(schedules.DiscardDeadSchedule),
		"grpc.health.v1.Health/Check":                     unary(health.NewHealthClient(connection).Check),
	}
}

func unary[Req, Res any, PReq message[Req], PRes message[Res]](
	call func(context.Context, PReq, ...grpc.CallOption) (PRes, error),
) method {
	return func(ctx context.Context, data []byte) (answers, error) {
		request := PReq(new(Req))
		if err := protojson.Unmarshal(data, request); err != nil {
			return nil, err
		}
		return func(func(any) bool) (any, error, error) {
			reply, failure := call(ctx, request)
			if failure != nil {
				reply = PRes(new(Res))
			}
			object, err := plain(reply)
			return object, failure, err
		}, nil
	}
}

func streaming[Req, Res any, PReq message[Req], PRes message[Res]](
	call func(context.Context, PReq, ...grpc.CallOption) (grpc.ServerStreamingClient[Res], error),
) method {
	return func(ctx context.Context, data []byte) (answers, error) {
		request := PReq(new(Req))
		if err := protojson.Unmarshal(data, request); err != nil {
			return nil, err
		}
		stream, unmade := call(ctx, request)
		return func(enough func(any) bool) (any, error, error) {
			merged := PRes(new(Res))
			failure := unmade
			for failure == nil {
				var reply *Res
				if reply, failure = stream.Recv(); failure == nil {
					proto.Merge(merged, PRes(reply))
					if object, err := plain(merged); err != nil || enough(object) {
						return object, nil, err
					}
				}
			}
			if errors.Is(failure, io.EOF) {
				failure = nil
			}
			object, err := plain(merged)
			return object, failure, err
		}, nil
	}
}

// plain gives a reply as the cases speak of it: protobuf JSON with the names of the protos.
func plain(reply proto.Message) (any, error) {
	options := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	data, err := options.Marshal(reply)
	if err != nil {
		return nil, err
	}
	var object any
	err = json.Unmarshal(data, &object)
	return object, err
}

// describe gives a failure as the cases speak of it.
func describe(failure error) map[string]any {
	found := map[string]any{}
	state := status.Convert(failure)
	found["status"] = code.Code(state.Code()).String()
	found["message"] = state.Message()
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			metadata := map[string]any{}
			for key, value := range detail.Metadata {
				metadata[key] = value
			}
			found["reason"], found["domain"], found["metadata"] = detail.Reason, detail.Domain, metadata
		case *errdetails.RetryInfo:
			found["retry_delay_ms"] = float64(detail.RetryDelay.AsDuration().Milliseconds())
		case *errdetails.BadRequest:
			fields := []any{}
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
			found["fields"] = fields
		case error:
			found["undecoded"] = fmt.Sprint(detail)
		}
	}
	return found
}
