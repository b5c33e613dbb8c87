package footfall;

import com.azure.core.amqp.AmqpRetryOptions;
import com.azure.core.amqp.exception.AmqpException;
import com.azure.messaging.eventhubs.EventData;
import com.azure.messaging.eventhubs.EventDataBatch;
import com.azure.messaging.eventhubs.EventHubClientBuilder;
import com.azure.messaging.eventhubs.EventHubConsumerClient;
import com.azure.messaging.eventhubs.EventHubProducerClient;
import com.azure.messaging.eventhubs.models.CreateBatchOptions;
import com.azure.messaging.eventhubs.models.EventPosition;
import com.azure.messaging.eventhubs.models.PartitionEvent;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Sends to a hub and receives from it with the Java SDK; prints one line for each thing it found out, so that the
 * caller can compare. Arguments: connection string, hub, partition key, number of events.
 */
public final class EventHubsSmoke {
    private static final int LARGE_BYTES = 200_000;
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    public static void main(String[] arguments) {
        EventHubClientBuilder builder = new EventHubClientBuilder()
            .connectionString(arguments[0], arguments[1])
            .consumerGroup("footfall")
            .retryOptions(new AmqpRetryOptions().setMaxRetries(1).setTryTimeout(PATIENCE));
        int count = Integer.parseInt(arguments[3]);
        try (EventHubProducerClient producer = builder.buildProducerClient();
            EventHubConsumerClient consumer = builder.buildConsumerClient()) {
            System.out.println("partitions " + producer.getPartitionIds().stream().toList());
            send(producer, arguments[2], count);
            for (String partition : producer.getPartitionIds()) {
                receive(consumer, partition, count);
            }
            refuse(builder, "nope");
        }
        System.out.println("done");
        System.exit(0);  // the SDK's own threads linger
    }

    private static void send(EventHubProducerClient producer, String key, int count) {
        EventDataBatch batch = producer.createBatch(new CreateBatchOptions().setPartitionKey(key));
        for (int number = 0; number < count; number++) {
            EventData event = new EventData("body-" + number);
            event.setContentType("text/plain").setMessageId("m-" + number);
            event.getProperties().putAll(Map.of("number", number, "text", "\u00e9"));
            if (number == count - 1) {
                event = new EventData("x".repeat(LARGE_BYTES));  // a message of several frames
            }
            if (!batch.tryAdd(event)) {
                throw new IllegalStateException("event " + number + " does not fit");
            }
        }
        producer.send(batch);
        System.out.println("sent " + batch.getCount());
    }

    private static void receive(EventHubConsumerClient consumer, String partition, int count) {
        if (consumer.getPartitionProperties(partition).isEmpty()) {
            return;
        }
        List<PartitionEvent> events = new ArrayList<>();
        EventPosition position = EventPosition.earliest();
        while (events.size() < count) {
            for (PartitionEvent event : consumer.receiveFromPartition(partition, count, position, PATIENCE)) {
                events.add(event);
                position = EventPosition.fromSequenceNumber(event.getData().getSequenceNumber());
            }
        }
        for (PartitionEvent event : events) {
            EventData data = event.getData();
            System.out.printf("received %s %d %s %s %s %s%n", partition, data.getSequenceNumber(),
                data.getPartitionKey(), data.getBody().length, data.getMessageId(), data.getProperties().get("number"));
        }
    }

    private static void refuse(EventHubClientBuilder builder, String group) {
        try (EventHubConsumerClient consumer = builder.consumerGroup(group).buildConsumerClient()) {
            consumer.receiveFromPartition("0", 1, EventPosition.earliest(), PATIENCE).forEach(event -> { });
            System.out.println("refused nothing");
        } catch (RuntimeException exception) {
            if (!(exception.getCause() instanceof AmqpException cause)) {
                throw exception;
            }
            System.out.println("refused " + cause.getErrorCondition());
        }
    }
}
