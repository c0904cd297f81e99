package cairn.interop.jobs;

import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.Trigger;

/**
 * Counts the words of what a topic has come to hold since the last run, on top of what that has
 * left in the checkpoint, and ends.
 */
public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        String input = arguments[0];
        String output = arguments[1];
        String checkpoint = arguments[2];
        try (SparkSession spark = Session.local()) {
            Dataset<Row> lines =
                    spark.readStream()
                            .format("kafka")
                            .option("kafka.bootstrap.servers", Session.BOOTSTRAP)
                            .option("subscribe", input)
                            .option("startingOffsets", "earliest")
                            .option("maxOffsetsPerTrigger", 5000)
                            .load();
            Dataset<Row> counts =
                    lines.selectExpr("explode(split(string(value), '[^A-Za-z]+')) as word")
                            .where("word != ''")
                            .selectExpr("lower(word) as key")
                            .groupBy("key")
                            .count()
                            .selectExpr("key", "string(count) as value");
            counts.writeStream()
                    .format("kafka")
                    .option("kafka.bootstrap.servers", Session.BOOTSTRAP)
                    .option("topic", output)
                    .option("checkpointLocation", checkpoint)
                    .outputMode("update")
                    .trigger(Trigger.AvailableNow())
                    .start()
                    .awaitTermination();
        }
    }
}
